"""The kernel for group normalisation with SiLU gives what torch gives, as near to the truth, forwards and backwards."""

import copy

import pytest
import torch
import torch.nn.functional as F

from tintype.models import UNet
from tintype.models.layers import GroupNorm
from tintype.models.presets import SMALL_UNET
from tintype.speed import kernels
from tintype.speed.normalize import GroupNormAtOnce, normalizing_at_once
from tintype.types import Conditioning

needs_kernel = pytest.mark.skipif(kernels.unavailable() is not None, reason=f"no kernel here: {kernels.unavailable()}")


def norm_of(channels, groups, kind=GroupNormAtOnce):
    generator = torch.Generator().manual_seed(channels)
    norm = kind(groups, channels, eps=1e-5)
    with torch.no_grad():
        norm.weight.copy_(torch.randn(channels, generator=generator))
        norm.bias.copy_(torch.randn(channels, generator=generator))
    return norm


def map_of(*shape, mean=1.0):
    generator = torch.Generator().manual_seed(sum(shape))
    x = mean + 2 * torch.randn(shape, generator=generator)
    return x.bfloat16().contiguous(memory_format=torch.channels_last)


def results(norm, x, silu):
    """What comes out and all gradients, in fp32."""
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    out = norm.then_silu(x) if silu else norm(x)
    toward = map_of(*out.shape, mean=0.0).to(out.dtype)
    return out.dtype, [each.float() for each in (out, *torch.autograd.grad(out, (x, norm.weight, norm.bias), toward))]


def error(found, wanted):
    return ((found - wanted).norm() / wanted.norm()).item()


SHAPES = [
    (2, 64, 32, 32, 32),  # of the box: batch, channels, groups, height, width
    (3, 192, 32, 5, 7),  # six channels in a group, a register in two or three of them
    (1, 320, 32, 9, 3),  # one picture, shared by its channels
    (2, 2560, 32, 4, 4),
    (5, 48, 3, 2, 9),
    (4, 16, 16, 6, 1),  # groups of one channel
    (1, 128, 1, 3, 3),  # and one of all
    (2, 32, 8, 1, 1),
]


@needs_kernel
@pytest.mark.parametrize("silu", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_as_near_to_the_truth_as_torch(shape, silu):
    batch, channels, groups, *size = shape
    x, norm = map_of(batch, channels, *size), norm_of(channels, groups)
    assert norm._fits(x)
    dtype, ours = results(norm, x, silu)
    _, theirs = results(norm_of(channels, groups, GroupNorm), x.contiguous(), silu)
    _, wanted = results(norm_of(channels, groups, GroupNorm), x.float(), silu)
    assert dtype == torch.bfloat16
    luck = 1e-3 if x.numel() < 1_000 else 0.0  # a few roundings of bf16 decide
    for found, other, truth in zip(ours, theirs, wanted, strict=True):
        assert error(found, truth) <= max(1.1 * error(other, truth) + luck, 1e-5)


@needs_kernel
def test_far_from_zero_nothing_is_lost():
    """The variance is of what is left without the mean, not a difference of large numbers."""
    x, norm = map_of(2, 64, 16, 16, mean=100.0), norm_of(64, 32)
    wanted = F.group_norm(x.double(), 32, norm.weight.double(), norm.bias.double())
    assert error(norm(x).double(), wanted) < 3e-3


@needs_kernel
def test_the_same_bits_however_it_is_shared(set_threads):
    x, norm, seen = map_of(4, 320, 8, 8), norm_of(320, 32), []
    for threads in (1, 2, 3, 5, 8):
        set_threads(threads)
        seen.append(results(norm, x, True)[1])
    assert all(torch.equal(one, other) for each in seen[1:] for one, other in zip(each, seen[0], strict=True))
    assert torch.equal(norm.then_silu(x[:1]), norm.then_silu(x)[:1])


@needs_kernel
def test_what_is_not_a_number_is_not_hidden():
    x, norm = map_of(2, 64, 4, 4), norm_of(64, 32)
    x[1, 5, 2, 2] = float("nan")
    out = norm.then_silu(x)
    assert out[1, 4:6].isnan().all() and out[0].isfinite().all() and out[1, 6:].isfinite().all()
    x[1, 5, 2, 2] = float("inf")
    assert norm(x)[1, 4:6].isnan().any()


@needs_kernel
def test_a_gradient_that_lies_otherwise():
    x, norm = map_of(2, 64, 6, 5), norm_of(64, 32)
    toward = torch.randn(2, 128, 6, 5).bfloat16()
    for piece in (toward[:, 32:96], toward[:, ::2].contiguous(memory_format=torch.channels_last)[:, :64]):
        found = []
        for gradient in (piece, piece.clone(memory_format=torch.channels_last)):
            leaf = x.clone(memory_format=torch.preserve_format).requires_grad_()
            norm.then_silu(leaf).backward(gradient)
            found.append(leaf.grad)
        assert torch.equal(*found)


def test_whatever_else_is_asked_torch_does():
    x = map_of(2, 64, 6, 5)
    seen = []
    watched = norm_of(64, 32)
    watched.register_forward_hook(lambda module, inputs, out: seen.append(out))
    cases = (
        (norm_of(64, 32), x.float()),
        (norm_of(64, 32), x.contiguous()),
        (norm_of(64, 32), x.flatten(2)),
        (norm_of(60, 30), map_of(2, 60, 6, 5)),
    )
    for norm, each in cases:
        assert not norm._fits(each)
        with torch.no_grad():
            assert torch.equal(
                norm.then_silu(each), F.silu(norm_of(norm.num_channels, norm.num_groups, GroupNorm)(each))
            )
    with torch.no_grad():
        out = watched.then_silu(x)
    assert len(seen) == 1 and out.shape == x.shape


def gradients(network, x, context, *, autocast):
    with torch.autocast("cpu", torch.bfloat16, autocast):
        out = network(x, torch.tensor([300.0, 700.0, 20.0]), network.prepare(Conditioning(context)))
    out.float().pow(2).mean().backward()
    found = torch.cat([p.grad.flatten() for p in network.parameters()])
    network.zero_grad()
    return found, out


@needs_kernel
def test_the_gradient_of_a_network():
    torch.manual_seed(0)
    network = UNet(SMALL_UNET)
    x, context = torch.randn(3, 4, 32, 32), torch.randn(3, 77, SMALL_UNET.context_dim)
    wanted, _ = gradients(network, x, context, autocast=False)
    theirs, _ = gradients(network, x, context, autocast=True)
    with normalizing_at_once(network):
        assert any(type(module) is GroupNormAtOnce for module in network.modules())
        ours, out = gradients(network, x, context, autocast=True)
        assert out.is_contiguous(memory_format=torch.channels_last)
        _, few = gradients(network, x[..., :8, :8], context, autocast=True)
        assert few.is_contiguous()  # where copies of the weights would take longer than all that is won
    assert error(ours, wanted) <= 1.1 * error(theirs, wanted)
    assert not any(type(module) is GroupNormAtOnce or module._forward_pre_hooks for module in network.modules())
    assert torch.equal(gradients(network, x, context, autocast=True)[0], theirs)


def test_without_the_kernel_or_its_widths_nothing_changes(monkeypatch):
    torch.manual_seed(0)
    network = UNet(SMALL_UNET)
    odd = copy.deepcopy(network)
    odd.norm_out = GroupNorm(4, 12)
    monkeypatch.setattr(kernels, "unavailable", lambda: "it was not built")
    with normalizing_at_once(network):
        assert not any(type(module) is GroupNormAtOnce for module in network.modules())
    monkeypatch.undo()
    with normalizing_at_once(odd):
        assert not any(type(module) is GroupNormAtOnce for module in odd.modules())
