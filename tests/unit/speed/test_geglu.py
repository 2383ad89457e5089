"""The kernel for GEGLU gives what torch gives, as near to the truth, forwards and backwards."""

import pytest
import torch

from tests.unit.speed.test_normalize import error, needs_kernel
from tintype.models.attention import FeedForward
from tintype.speed import kernels
from tintype.speed.geglu import FeedForwardAtOnce, gating_at_once


def results(kind, both):
    both = both.detach().clone().requires_grad_()
    out = kind(16).gated(both)
    toward = torch.randn(out.shape, generator=torch.Generator().manual_seed(7)).bfloat16().to(out.dtype)
    return [each.float() for each in (out, *torch.autograd.grad(out, both, toward))]


@needs_kernel
@pytest.mark.parametrize("shape", [(2, 64, 2048), (3, 7, 32), (1, 1, 96), (5, 2560)])
def test_as_near_to_the_truth_as_torch(shape):
    both = (3 * torch.randn(shape, generator=torch.Generator().manual_seed(0))).bfloat16()
    ours, theirs, wanted = (
        results(kind, x) for kind, x in ((FeedForwardAtOnce, both), (FeedForward, both), (FeedForward, both.float()))
    )
    for found, other, truth in zip(ours, theirs, wanted, strict=True):
        assert error(found, truth) <= 1.05 * error(other, truth)


def every_number():
    """All of bf16, infinities and what is no number included."""
    return torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)


def rounded(found, wanted, beside):
    """Whether bf16 results are fp64 ones to a rounding, and to ``beside`` where those are smaller still."""
    finite = wanted.isfinite()
    alike = torch.equal(found.isnan(), wanted.isnan()) and torch.equal(found[~finite].isinf(), wanted[~finite].isinf())
    apart = (found.double() - wanted)[finite].abs()
    return alike and bool((apart <= 2**-8 * wanted[finite].abs() + beside).all())


@needs_kernel
def test_every_gate():
    """With a value of 1."""
    gate = every_number()
    both = torch.cat([torch.ones(4096, 16).bfloat16(), gate.view(4096, 16)], dim=1)
    found = FeedForwardAtOnce(16).gated(both).flatten()
    assert rounded(found, torch.nn.functional.gelu(gate.double()), beside=1e-6)


def test_whatever_else_is_asked_torch_does():
    torch.manual_seed(0)
    both = torch.randn(2, 5, 64).bfloat16()
    for each in (both.float(), both[..., ::2], both[..., :34]):
        assert torch.equal(FeedForwardAtOnce(16).gated(each), FeedForward(16).gated(each))


def test_in_a_layer_and_no_trace_after(monkeypatch):
    torch.manual_seed(0)
    layer, x = FeedForward(32), torch.randn(2, 5, 32)
    found = []
    for at_once in (False, True):
        with gating_at_once(layer) if at_once else torch.enable_grad(), torch.autocast("cpu", torch.bfloat16):
            assert (type(layer) is FeedForwardAtOnce) == (at_once and kernels.unavailable() is None)
            layer(x).float().pow(2).mean().backward()
        found.append(torch.cat([p.grad.flatten() for p in layer.parameters()]))
        layer.zero_grad()
    assert type(layer) is FeedForward and error(*found) < 0.02
    monkeypatch.setattr(kernels, "unavailable", lambda: "it was not built")
    with gating_at_once(layer):
        assert type(layer) is FeedForward
