"""A training that begins as a model that is there, of the same shape or a level smaller."""

from dataclasses import replace

import pytest
import torch

from tintype.checkpoints.folder import load_folder, save_folder
from tintype.errors import SettingsError
from tintype.models import UNet, UNetConfig
from tintype.models.layers import sinusoidal_embedding
from tintype.training import Chain
from tintype.training.draws import Draw
from tintype.training.growing import begin_as, grown_config
from tintype.training.state import load_newest_state


@pytest.fixture(scope="module")
def taught(prepared, recipe, tmp_path_factory):
    """A folder with the model of a run whose noise predictor saw 640 pictures of latents."""
    folder = tmp_path_factory.mktemp("taught")
    for name in ("pictures", "tokenizer", "clip", "autoencoder", "latents"):
        (folder / name).symlink_to(prepared / name)
    chain = Chain(recipe, folder)
    list(chain.denoiser_training(replace(recipe.denoiser, pictures=640, cooldown=0, ema=None)))
    save_folder(chain.model(), folder / "model")
    return folder / "model", chain.unet()


def test_a_noise_predictor_begins_as_that_of_a_model(chain, taught):
    folder, unet = taught
    training = chain.denoiser_training(replace(chain.recipe.denoiser, begin=str(folder)))
    state = training.task.model.state_dict()
    assert all(torch.equal(state[name], weight) for name, weight in unet.state_dict().items())
    assert all(torch.equal(training.ema.weights[name], weight) for name, weight in unet.named_parameters())


def test_what_was_begun_continues_from_its_own_state(chain, taught):
    recipe = replace(chain.recipe.denoiser, begin=str(taught[0]), pictures=64, cooldown=0)
    list(chain.denoiser_training(recipe))
    begun = load_newest_state(chain.folder / "denoiser").tensors["model"]
    again = chain.denoiser_training(replace(recipe, begin="/nowhere")).task.model.state_dict()
    assert all(torch.equal(again[name], weight) for name, weight in begun.items())


def test_an_autoencoder_begins_as_that_of_a_model(chain, taught):
    (chain.folder / "autoencoder").unlink()
    task = chain.autoencoder_training(replace(chain.recipe.autoencoder, begin=str(taught[0]), seed=9)).task
    weights = load_folder(taught[0]).autoencoder.state_dict()
    assert all(torch.equal(weights[name], weight) for name, weight in task.model.state_dict().items())


def test_below_the_new_level_all_is_as_it_was_taught(taught):
    _, small = taught
    grown = begin_as(UNet(grown_config(small.config, 16)), small)
    assert grown.config.channels == (16, 32, 64)
    for deep, finer in ((small.down[1], grown.down[2]), (small.mid, grown.mid), (small.up[0], grown.up[0])):
        ours = finer.state_dict()
        assert all(torch.equal(ours[name], weight) for name, weight in deep.state_dict().items())
    times = torch.arange(1_000)
    old = small.time_embedding(sinusoidal_embedding(times, 32))
    new = grown.time_embedding(sinusoidal_embedding(times, 16))
    assert (old - new).square().mean() < 0.1 * old.var()


@pytest.mark.parametrize(("taught_on", "width"), [(32, 16), (128, 64)])
def test_a_grown_one_tells_the_time_in_half_precision_too(taught_on, width):
    """Weights that only cancel in fp32 would tell it nothing but rounding in bf16, and train and draw differently."""
    config = UNetConfig(
        channels=(taught_on, 2 * taught_on),
        layers_per_block=1,
        transformer_depth=(0, 0),
        mid_depth=0,
        num_heads=(1, 1),
        norm_groups=8,
    )
    small = UNet(replace(config, context_dim=None))
    grown = begin_as(UNet(grown_config(small.config, width)), small)
    waves = sinusoidal_embedding(torch.arange(1_000), width)
    weight, before = (net.time_embedding.linear_1.weight for net in (grown, small))
    assert weight.square().mean() < 10 * before.square().mean()
    exact, rounded = waves @ weight.T, (waves.bfloat16() @ weight.bfloat16().T).float()
    assert (exact - rounded).square().mean() < 1e-3 * exact.var()


def test_a_grown_one_learns(chain, taught):
    folder, small = taught
    shape = grown_config(small.config, 16)
    recipe = replace(chain.recipe.denoiser, unet=shape, begin=str(folder), pictures=640, warmup=0, cooldown=0, lr=1e-3)
    losses = [progress.loss for progress in chain.denoiser_training(recipe, "grown")]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_without_clip_the_words_are_those_of_the_model(chain, taught):
    """What it began as was told by one text encoder, and so it is told by the same, wherever the run goes on."""
    folder, _ = taught
    for name in ("clip", "tokenizer"):
        (chain.folder / name).unlink()
    recipe = replace(chain.recipe.denoiser, begin=str(folder), pictures=32, cooldown=0)
    list(chain.denoiser_training(recipe))
    chain.denoiser_training(replace(recipe, begin="/nowhere"))
    words = ["a red boat on the sea", ""]
    ours, theirs = chain.model().conditioner(words), load_folder(folder).conditioner(words)
    assert torch.equal(ours.context, theirs.context)
    assert chain.tokenizer().end == load_folder(folder).conditioner.towers[0].tokenizer.end


def test_other_shapes_are_refused(chain, taught):
    folder, small = taught
    wider = replace(small.config, channels=(64, 64))
    with pytest.raises(SettingsError, match="a level more"):
        chain.denoiser_training(replace(chain.recipe.denoiser, unet=wider, begin=str(folder)))
    narrow = replace(chain.recipe.autoencoder.autoencoder, channels=(8, 8, 8, 8))
    (chain.folder / "autoencoder").unlink()
    with pytest.raises(SettingsError, match="cannot begin as"):
        chain.autoencoder_training(replace(chain.recipe.autoencoder, autoencoder=narrow, begin=str(folder)))


def test_the_first_step_is_the_same_whoever_asks(chain, taught):
    """The network that begins as another predicts what that one does."""
    folder, unet = taught
    task = chain.denoiser_training(replace(chain.recipe.denoiser, begin=str(folder))).task
    batch = task.batch([Draw(0, 0, index) for index in range(8)])
    ours, _ = task.loss(batch)
    theirs, _ = chain.diffusion_task(chain.recipe.denoiser, unet, task.examples.shards).loss(batch)
    assert ours.item() == theirs.item()
