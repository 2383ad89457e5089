"""The gradient of a batch does not depend on the pieces that it is computed in, nor by much on the precision."""

from dataclasses import replace

import pytest
import torch

from tintype.errors import SettingsError
from tintype.training.draws import visits
from tintype.training.state import load_newest_state


def denoiser(chain, name, **dials):
    recipe = replace(chain.recipe.denoiser, pictures=18, batch_size=6, precision="fp32")
    return chain.denoiser_training(replace(recipe, **dials), name)


def first_gradient(training):
    """(loss, norm, gradient) of the first batch."""
    recipe, task = training.recipe, training.task
    loss, _, norm = training._gradient(visits(recipe.seed, task.num_pictures, 0, recipe.batch_size, task.shapes))
    return loss, norm, torch.cat([p.grad.flatten() for p in task.model.parameters()])


@pytest.mark.parametrize("dials", [{"accumulate": 3}, {"checkpointing": True}, {"accumulate": 6}])
def test_pieces_and_checkpoints_change_nothing_but_the_order_of_sums(chain, dials):
    loss, norm, gradient = first_gradient(denoiser(chain, "plain"))
    other_loss, other_norm, other = first_gradient(denoiser(chain, "other", **dials))
    assert other_loss == pytest.approx(loss, rel=1e-5) and other_norm == pytest.approx(norm, rel=1e-5)
    assert (gradient - other).norm() < 1e-5 * gradient.norm()


def test_checkpoints_in_clip_and_autoencoder(chain):
    for stage in ("clip", "autoencoder"):
        found = []
        for checkpointing in (False, True):
            recipe = replace(getattr(chain.recipe, stage), batch_size=4, precision="fp32", checkpointing=checkpointing)
            found.append(first_gradient(getattr(chain, f"{stage}_training")(recipe)))
        assert found[0][0] == pytest.approx(found[1][0], rel=1e-6)
        torch.testing.assert_close(found[0][2], found[1][2], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("precision", "tolerance"), [("bf16", 0.05), ("fp16", 0.01)])
def test_half_precision_is_near(chain, precision, tolerance):
    loss, _, gradient = first_gradient(denoiser(chain, "fp32"))
    half, _, other = first_gradient(denoiser(chain, "half", precision=precision))
    assert half != loss and half == pytest.approx(loss, rel=tolerance)
    assert 0 < (gradient - other).norm() < tolerance * gradient.norm()


def test_the_scale_of_fp16_is_found_and_kept(chain):
    training = denoiser(chain, "fp16", precision="fp16")
    training._gradient.scale.value = 2.0**40
    progress = list(training)
    assert progress[0].skipped == 1 and progress[-1].skipped == 3  # too large: every step overflows
    state = load_newest_state(chain.folder / "fp16")
    assert state.numbers["loss_scale"] == {"value": 2.0**37, "good": 0}
    again = denoiser(chain, "fp16", precision="fp16", pictures=24)
    assert again._gradient.scale.value == 2.0**37


def test_one_process_is_not_split(chain):
    with pytest.raises(SettingsError, match=r"shard=fsdp is for several processes, and this is one\. Start it with"):
        denoiser(chain, "alone", shard="fsdp")
