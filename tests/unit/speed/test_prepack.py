"""Packed layers compute what plain ones do, and give their weights back bit for bit, to whoever asks."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from tintype.speed.prepack import Packed, PackedConv2d, PackedLinear, pack, unavailable, unpack

pytestmark = pytest.mark.skipif(unavailable(torch.float32) is not None, reason=str(unavailable(torch.float32)))

CONVOLUTIONS = {  # in, out, kernel, stride, padding; and sizes, one after the other
    "3x3": ((320, 64, 3, 1, 1), [(2, 8, 8), (1, 7, 5), (2, 8, 8), (3, 1, 1), (1, 1, 9)]),
    "stride 2": ((12, 20, 3, 2, 1), [(2, 9, 7), (1, 8, 8)]),
    "stride 2 without borders": ((8, 8, 3, 2, 0), [(1, 9, 9), (2, 17, 5)]),
    "1x1": ((5, 7, 1, 1, 0), [(2, 1, 1), (1, 6, 11)]),
    "from latents": ((4, 32, 3, 1, 1), [(2, 13, 8)]),
    "to latents": ((32, 4, 3, 1, 1), [(2, 13, 8)]),
    "patches": ((3, 24, 14, 14, 0), [(1, 28, 42)]),
}
LINEAR = {"wide": (64, 96), "narrow": (33, 7), "one": (5, 1)}


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool((a - b).abs().max() <= 1e-5 * b.abs().max())


def layer_of(kind: type[nn.Module], *arguments, bias: bool = True) -> nn.Module:
    torch.manual_seed(0)
    return kind(*arguments, bias=bias)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("shape", "sizes"), CONVOLUTIONS.values(), ids=CONVOLUTIONS)
@torch.no_grad()
def test_convolutions(shape, sizes, bias):
    layer = layer_of(nn.Conv2d, *shape, bias=bias)
    inputs = [torch.randn(b, shape[0], h, w) for b, h, w in sizes]
    expected, weight = [layer(x) for x in inputs], layer.weight.clone()
    pack(layer, linear=False)
    for x, wanted in zip(inputs, expected, strict=True):
        for memory in (torch.contiguous_format, torch.channels_last):
            assert close(layer(x.contiguous(memory_format=memory)), wanted)
        assert layer(x).is_contiguous(memory_format=torch.channels_last)
    assert type(layer) is PackedConv2d and layer._parameters["weight"].isnan().all(), "it was never packed"
    unpack(layer)
    assert type(layer) is nn.Conv2d and torch.equal(layer.weight, weight)
    assert all(torch.equal(layer(x), wanted) for x, wanted in zip(inputs, expected, strict=True))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", LINEAR.values(), ids=LINEAR)
@torch.no_grad()
def test_linear_layers(shape, bias):
    layer = layer_of(nn.Linear, *shape, bias=bias)
    inputs = [torch.randn(*size, shape[0]) for size in [(2, 77), (1, 1), (5,), (2, 3, 4), (2, 77)]]
    expected, weight = [layer(x) for x in inputs], layer.weight.clone()
    pack(layer, linear=True)
    assert all(close(layer(x), wanted) for x, wanted in zip(inputs, expected, strict=True))
    assert type(layer) is PackedLinear and layer._parameters["weight"].isnan().all(), "it was never packed"
    unpack(layer)
    assert type(layer) is nn.Linear and torch.equal(layer.weight, weight)
    assert all(torch.equal(layer(x), wanted) for x, wanted in zip(inputs, expected, strict=True))


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.SiLU(), nn.Flatten(), nn.Linear(8 * 15, 5))


@pytest.fixture
def packed(network) -> nn.Module:
    """The same, packed, after a call."""
    other = copy.deepcopy(network)
    pack(other, linear=True)
    with torch.no_grad():
        other(torch.randn(2, 4, 3, 5))
    assert all(isinstance(other[i], Packed) and other[i].held is not None for i in (0, 3))
    return other


def is_plain(network: nn.Module) -> bool:
    return not any(isinstance(module, Packed) for module in network.modules())


def same_weights(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_copies_and_states_hold_plain_weights_and_leave_the_packed_ones(network, packed):
    state = packed.state_dict()
    assert state.keys() == network.state_dict().keys()
    assert all(torch.equal(state[name], weight) for name, weight in network.state_dict().items())
    other = copy.deepcopy(packed)
    assert is_plain(other) and same_weights(other, network)
    assert not is_plain(packed)


def test_asking_for_a_weight_gives_it(network, packed):
    parameter = packed[3]._parameters["weight"]
    assert packed[3].weight is parameter and torch.equal(parameter, network[3].weight)
    assert type(packed[3]) is nn.Linear and isinstance(packed[0], PackedConv2d)


@pytest.mark.parametrize(
    "ask",
    [lambda n: n.to(torch.float32), lambda n: n.train(), lambda n: n.load_state_dict(n.state_dict()), unpack],
    ids=["to", "train", "load_state_dict", "unpack"],
)
def test_whoever_needs_the_weights_finds_a_plain_network(network, packed, ask):
    ask(packed)
    assert is_plain(packed) and same_weights(packed, network)


def test_gradients(network, packed):
    x = torch.randn(2, 4, 3, 5)
    for each in (network, packed):
        each(x).sum().backward()
    assert is_plain(packed)
    for a, b in zip(network.parameters(), packed.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)


@torch.no_grad()
def test_autocast_computes_in_its_own_precision(network, packed):
    x = torch.randn(2, 4, 3, 5)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(packed(x), network(x))


def test_kinds_that_are_not_known_are_left_alone():
    grouped = nn.Conv2d(8, 8, 3, groups=2)
    reflecting = nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect")
    transposed = nn.Linear(4, 4)
    transposed.weight.data = transposed.weight.data.T
    network = nn.Sequential(
        grouped, reflecting, transposed, nn.Conv2d(8, 8, 3, padding="same"), nn.Linear(3, 3).to("meta")
    )
    pack(network, linear=True)
    assert is_plain(network)
