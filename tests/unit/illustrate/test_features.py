"""Layers in the order of the forward pass, what they add, their colours, skip connections, the outline."""

from __future__ import annotations

import pytest
import torch

from tintype.illustrate import record
from tintype.illustrate.decoding import chosen_steps
from tintype.illustrate.features import Colours, principal_axes
from tintype.illustrate.outline import outline_changes, outline_shares, outline_window
from tintype.illustrate.recorder import spread
from tintype.illustrate.structure import places, skip_connections

PROMPT = "a paradise cosmic beach"


@pytest.fixture
def evaluation(models):
    """A recording of two steps, and inputs and outputs of every module in its first evaluation, our picture's row."""

    def make(family):
        model = models[family]
        recording = record(run := model.text2img(PROMPT, seed=5, width=72, height=64, steps=2)).recording(decode=0)
        seen, order = {}, []
        names = {module: name for name, module in model.unet.named_modules()}

        def before(module, inputs):
            order.append(names[module])

        def after(module, inputs, output):
            seen[names[module]] = (inputs, output)

        handles = [m.register_forward_pre_hook(before) for m in names] + [m.register_forward_hook(after) for m in names]
        try:
            next(iter(model.run(run.settings)))
        finally:
            for handle in handles:
                handle.remove()
        return model, recording, seen, order

    return make


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_layers_are_those_of_the_forward_pass_in_order(evaluation, family):
    model, recording, seen, order = evaluation(family)
    names = [layer.name for layer in recording.layers]
    assert names == [name for name in order if name in set(names)]
    whole = {"ResnetBlock", "SpatialTransformer", "Attention", "FeedForward", "Upsample", "Downsample"}
    assert {n for n, m in model.unet.named_modules() if type(m).__name__ in whole} <= set(names)
    for layer in recording.layers:
        assert layer.shape == tuple(seen[layer.name][1].shape[1:])
        assert layer.parameters == sum(w.numel() for w in model.unet.get_submodule(layer.name).parameters())


def test_how_far_layers_move_the_features(evaluation):
    _, recording, seen, _ = evaluation("sd1")
    checked = set()
    for layer in recording.layers:
        inputs, output = seen[layer.name]
        output = output[1]  # of the pass that is told the prompt
        if layer.kind == "resnet":
            stream = seen[f"{layer.name}.shortcut"][1][1]
            added = output - stream
        elif layer.kind == "transformer":
            stream = inputs[0][1]
            added = output - stream
        elif layer.kind in ("self-attention", "cross-attention", "feed-forward"):
            number = {"self-attention": 1, "cross-attention": 2, "feed-forward": 3}[layer.kind]
            stream, added = seen[f"{layer.name.rpartition('.')[0]}.norm{number}"][0][0][1], output
        else:
            assert layer.moved is None
            continue
        assert layer.moved[0] == pytest.approx(float(added.norm() / stream.norm()), rel=1e-4)
        assert len(layer.moved) == 2
        checked.add(layer.kind)
    assert len(checked) == 5
    time = seen["mid.resnets.0"][0][1][1]
    torch.testing.assert_close(recording.time_embeddings[0], time)
    assert not torch.equal(recording.time_embeddings[0], recording.time_embeddings[1])


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_skip_connections_are_those_of_the_tensors(evaluation, family):
    model, recording, seen, _ = evaluation(family)
    assert recording.skips == skip_connections(model.unet)
    assert len(recording.skips) == len(model.unet.up) * (model.unet.config.layers_per_block + 1)
    for source, target in recording.skips:
        output, whole = seen[source][1], seen[target][0][0]
        assert torch.equal(whole[:, -output.shape[1] :], output), (source, target)


def test_thumbnails(evaluation):
    _, recording, _, _ = evaluation("sd1")
    assert recording.feature_steps == (0, 1)
    for layer in recording.layers:
        shown = layer.kind in ("conv", "resnet", "transformer", "down", "up")
        assert (layer.thumbnails is not None) == shown
        if layer.thumbnails is not None:
            assert layer.thumbnails.shape == (2, *layer.shape[1:], 3)
            assert layer.thumbnails.dtype == torch.uint8
            assert layer.thumbnails.float().std() > 5
            assert all(0 < share <= 1.0001 for share in layer.explained)


@pytest.mark.parametrize("shape", [(200, 12), (12, 200)])
def test_principal_axes_are_those_of_the_singular_values(shape):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(*shape, generator=generator) * torch.linspace(1, 5, shape[1]) ** 2
    x = x - x.mean(0)
    axes, share = principal_axes(x)
    _, values, right = torch.linalg.svd(x, full_matrices=False)
    torch.testing.assert_close((axes * right[:3].T).sum(0).abs(), torch.ones(3), atol=1e-3, rtol=0)
    assert share == pytest.approx(float((values[:3] ** 2).sum() / (values**2).sum()), rel=1e-4)


def test_colours_keep_their_meaning_from_step_to_step():
    """Features that only change their sign of components, or a little, keep their colours."""
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(3, 8, 8, generator=generator) * torch.tensor([9.0, 5.0, 3.0])[:, None, None]
    mixing = torch.linalg.qr(torch.randn(16, 3, generator=generator))[0]
    colours = Colours()
    for step in range(4):
        features = torch.einsum("chw,dc->dhw", base, mixing)
        colours.add(features + 0.05 * step * torch.randn(16, 8, 8, generator=generator))
    pictures = colours.pictures().float()
    assert (pictures[1:] - pictures[:1]).abs().mean() < 4
    assert pictures.std() > 30
    assert colours.explained[0] == pytest.approx(1, abs=1e-4)


def test_few_places_and_few_channels():
    for shape in [(2, 5, 5), (16, 1, 2), (1, 1, 1)]:
        colours = Colours()
        colours.add(torch.arange(float(torch.Size(shape).numel())).reshape(shape))
        colours.add(torch.zeros(shape))
        assert colours.pictures().shape == (2, *shape[1:], 3)


def test_the_outline_is_found_where_it_was_put():
    generator = torch.Generator().manual_seed(0)
    picture = torch.zeros(4, 16, 16)
    picture[:, 8:] = 2.0
    noise = 0.05 * torch.randn(10, 4, 16, 16, generator=generator)
    amount = torch.tensor([0, 0, 0, 0.1, 0.6, 0.95, 1, 1, 1, 1])[:, None, None, None]
    estimates = list(amount * picture + noise)
    first, last = outline_window(outline_changes(estimates))
    assert 3 <= first < last <= 5
    shares = outline_shares(estimates, picture)
    assert shares[0] < 0.3
    assert shares[-1] > 0.9
    assert outline_window([]) == (0, 0)
    assert outline_window([0.0, 0.0]) == (0, 0)
    assert outline_window([1.0]) == (0, 1)
    assert outline_window([0.1, 0.1, 5.0, 0.1]) == (2, 3)


def test_which_steps_are_chosen():
    assert spread(3, 6) == (0, 1, 2)
    assert spread(50, 6)[0] == 0
    assert spread(50, 6)[-1] == 49
    assert len(spread(50, 6)) == 6
    changes = [0.0] * 10 + [1.0, 1.0, 1.0] + [0.0] * 10
    chosen = chosen_steps(changes, 8)
    assert chosen[0] == 0
    assert chosen[-1] == 23
    assert sum(10 <= index <= 13 for index in chosen) >= 3
    assert chosen_steps([], 8) == [0]


def test_every_place_has_a_name_of_the_network(sd):
    for place in places(sd.unet):
        assert sd.unet.get_submodule(place.name) is place.module
