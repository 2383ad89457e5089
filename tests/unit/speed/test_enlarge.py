"""Enlarging at once: the convolution over repeated pixels, its gradients, and the plain layer whenever it must be."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from tests.unit.speed.peak_memory import autoencoder
from tests.unit.speed.test_prepack import close
from tintype.models import UNet
from tintype.models.layers import Upsample
from tintype.models.presets import SMALL_UNET
from tintype.speed import enlarge, set_profile
from tintype.speed.enlarge import JoinedConv2d, UpsampleAtOnce, enlarge_at_once, enlarging_at_once, joined
from tintype.speed.prepack import PackedConv2d, pack, unavailable, unpack
from tintype.types import Conditioning

packing = pytest.mark.skipif(unavailable(torch.float32) is not None, reason=str(unavailable(torch.float32)))

SIZES = [(1, 1), (1, 6), (5, 3), (8, 8)]


def layer(channels: int = 6) -> Upsample:
    torch.manual_seed(0)
    return Upsample(channels)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_joined_weights_are_those_of_the_two_steps(size):
    x, weight, bias = torch.randn(2, 5, *size).double(), torch.randn(7, 5, 3, 3), torch.randn(7).double()
    enlarged = F.interpolate(x, scale_factor=2, mode="nearest")
    wanted = F.conv2d(enlarged, weight.double(), bias, padding=1)
    found = F.conv_transpose2d(x, joined(weight).double(), bias, stride=2, padding=1)
    assert (found - wanted).abs().max() < 1e-5


@packing
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last], ids=["as it is", "channels-last"])
@torch.no_grad()
def test_packed(memory):
    plain, quick = layer(), layer()
    enlarge_at_once(quick, pack=True)
    pack(quick, linear=True)
    assert type(quick) is UpsampleAtOnce and type(quick.conv) is JoinedConv2d
    for h, w in [*SIZES, *SIZES]:
        x = torch.randn(2, 6, h, w).contiguous(memory_format=memory)
        found, wanted = quick(x, (2 * h, 2 * w)), plain(x, (2 * h, 2 * w))
        assert close(found, wanted) and found.is_contiguous(memory_format=torch.channels_last)
    assert quick.conv._parameters["weight"].isnan().all(), "it was never packed"


@packing
@torch.no_grad()
def test_weights_are_given_back_bit_for_bit():
    plain, quick = layer(), layer()
    for ask in (unpack, lambda each: each.conv.weight, lambda each: each.train(), lambda each: each.to(torch.float32)):
        enlarge_at_once(quick, pack=True)
        quick(torch.randn(1, 6, 4, 4), (8, 8))
        assert torch.equal(quick.state_dict()["conv.weight"], plain.conv.weight)
        copied = copy.deepcopy(quick)
        assert torch.equal(copied.conv.weight, plain.conv.weight) and "packed" not in vars(copied.conv)
        ask(quick)
        assert type(quick.conv) is torch.nn.Conv2d and not {"held", "size", "packed"} & set(vars(quick.conv))
        assert torch.equal(quick.conv.weight, plain.conv.weight)


@packing
@torch.no_grad()
def test_changed_weights_are_joined_anew():
    plain, quick, x = layer(), layer(), torch.randn(1, 6, 4, 4)
    enlarge_at_once(quick, pack=True)
    quick(x, (8, 8))
    for each in (plain, quick):
        each.conv.weight.mul_(3)
    enlarge_at_once(quick, pack=True)
    assert close(quick(x, (8, 8)), plain(x, (8, 8)))


@pytest.mark.parametrize("packed", [False, pytest.param(True, marks=packing)])
@torch.no_grad()
def test_a_size_that_is_not_doubled_is_plain(packed):
    plain, quick, x = layer(), layer(), torch.randn(2, 6, 4, 4)
    enlarge_at_once(quick, pack=packed)
    for size in [(7, 8), (8, 7), (7, 7), (8, 8), (7, 7)]:
        assert torch.equal(quick(x, size), plain(x, size)) == (size != (8, 8))


@pytest.mark.parametrize("packed", [False, pytest.param(True, marks=packing)])
@torch.no_grad()
def test_what_is_put_upon_the_convolution_is_heard(packed):
    plain, quick, x = layer(), layer(), torch.randn(1, 6, 4, 4)
    enlarge_at_once(quick, pack=packed)
    seen = []
    hook = quick.conv.register_forward_hook(lambda module, inputs, out: seen.append(inputs[0].shape[-1]))
    assert torch.equal(quick(x, (8, 8)), plain(x, (8, 8))) and seen == [8]
    hook.remove()
    quick.conv.forward = lambda enlarged: enlarged + 1
    assert torch.equal(quick(x, (8, 8)), F.interpolate(x, scale_factor=2, mode="nearest") + 1)


@pytest.mark.parametrize("autocast", [False, True])
def test_gradients(autocast):
    plain, quick = layer(), layer()
    found = []
    for each in (plain, quick):
        torch.manual_seed(1)
        x, toward = torch.randn(2, 6, 5, 4, requires_grad=True), torch.randn(2, 6, 10, 8)
        with enlarging_at_once(quick), torch.autocast("cpu", torch.bfloat16, autocast):
            out = each(x, (10, 8))
        (out.float() * toward).sum().backward()
        found.append((out.detach().float(), x.grad, each.conv.weight.grad, each.conv.bias.grad))
    assert type(quick) is Upsample
    for ours, theirs in zip(*reversed(found), strict=True):
        assert (ours - theirs).abs().max() <= (2e-2 if autocast else 1e-5) * theirs.abs().max()


@packing
def test_a_gradient_through_packed_weights_makes_them_plain():
    plain, quick, x = layer(), layer(), torch.randn(1, 6, 4, 4)
    enlarge_at_once(quick, pack=True)
    with torch.no_grad():
        quick(x, (8, 8))
    quick(x, (8, 8)).sum().backward()
    plain(x, (8, 8)).sum().backward()
    assert type(quick.conv) is torch.nn.Conv2d and close(quick.conv.weight.grad, plain.conv.weight.grad)


@torch.no_grad()
def test_half_precision_of_a_unet():
    """Sums of weights are rounded once more. In a network such layers are few among the others."""
    torch.manual_seed(0)
    wide = UNet(SMALL_UNET).eval()
    plain, quick = copy.deepcopy(wide).bfloat16(), copy.deepcopy(wide).bfloat16()
    enlarge_at_once(quick, pack=unavailable(torch.bfloat16) is None)
    x, t, context = (
        torch.randn(2, 4, 16, 16).bfloat16(),
        torch.tensor([300.0, 700.0]),
        torch.randn(2, 77, 256).bfloat16(),
    )
    wanted = wide(x.float(), t, wide.prepare(Conditioning(context.float())))
    ours, theirs = (
        (each(x, t, each.prepare(Conditioning(context))) - wanted).pow(2).mean().sqrt() for each in (quick, plain)
    )
    assert 0 < ours < 1.2 * theirs


@packing
def test_without_the_operator_it_is_left_plain(monkeypatch):
    enlarge.has_kernel.cache_clear()
    assert enlarge.has_kernel(torch.float32)
    monkeypatch.setattr(enlarge, "SHARES", enlarge.SHARES.flip(1))  # as a torch would that turns weights round
    enlarge.has_kernel.cache_clear()
    assert not enlarge.has_kernel(torch.float32)
    model = autoencoder((8, 8, 16, 16), groups=4)
    assert set_profile([model], "fast") == ()
    kinds = [type(module) for module in model.modules()]
    assert UpsampleAtOnce not in kinds and PackedConv2d in kinds
    enlarge.has_kernel.cache_clear()


@packing
@torch.no_grad()
def test_in_an_autoencoder_every_level_is_enlarged_at_once():
    model = autoencoder((8, 8, 16, 16), groups=4)
    latents = torch.randn(2, 4, 5, 3)
    wanted = model.decode(latents)
    enlarge_at_once(model, pack=True)
    pack(model, linear=True)
    assert close(model.decode(latents), wanted)
    kinds = [type(module) for module in model.modules()]
    assert kinds.count(UpsampleAtOnce) == kinds.count(JoinedConv2d) == 3 and PackedConv2d in kinds
