"""The kernel for CLIP's activation gives what torch gives, as near to the truth, and is used for what it is for."""

import pytest
import torch

from tests.unit.speed.test_geglu import every_number, rounded
from tests.unit.speed.test_normalize import error, needs_kernel
from tintype.models.clip import MLP, quick_gelu
from tintype.speed import kernels
from tintype.speed.profile import set_profile
from tintype.speed.quick_gelu import MLPAtOnce, activate_by_kernel


def mlp(activation="quick_gelu", dim=24, mlp_dim=80):
    torch.manual_seed(0)
    return MLP(dim, mlp_dim, activation).bfloat16().eval()


@needs_kernel
@torch.no_grad()
def test_every_number():
    """Over all of bf16."""
    layer, x = mlp(), every_number()
    layer.up, layer.down = _Copies(), torch.nn.Identity()
    activate_by_kernel(layer)
    assert rounded(layer(x), x.double() * torch.sigmoid(1.702 * x.double()), beside=1e-30)


class _Copies(torch.nn.Module):
    def forward(self, x):
        return x.clone()


@needs_kernel
@torch.no_grad()
@pytest.mark.parametrize("shape", [(2, 77, 24), (1, 1, 24), (3, 5, 24)])
def test_as_near_to_the_truth_as_torch(shape):
    plain, quick = mlp(), mlp()
    activate_by_kernel(quick)
    x = 2 * torch.randn(shape).bfloat16()
    wanted = plain.float()(x.float())
    assert type(quick) is MLPAtOnce and error(quick(x), wanted) <= 1.1 * error(mlp()(x), wanted)


def test_whatever_else_is_asked_torch_does():
    x = torch.randn(2, 5, 24).bfloat16()
    seen, watched = [], mlp()
    watched.up.register_forward_hook(lambda module, inputs, out: seen.append(out))
    cases = ((mlp("gelu"), x), (mlp().float(), x.float()), (mlp(mlp_dim=81), x[:1, :3]), (watched, x))
    with torch.no_grad():
        for layer, given in cases:
            wanted = layer(given)
            activate_by_kernel(layer)
            assert torch.equal(layer(given), wanted)
    assert len(seen) == 2 and torch.equal(*seen)
    learnt = mlp()
    activate_by_kernel(learnt)
    learnt(x).float().sum().backward()
    assert learnt.up.weight.grad is not None and torch.equal(learnt(x), mlp()(x))


@torch.no_grad()
def test_the_fast_profile_in_bf16_has_it_and_the_plain_one_not():
    layer, x = mlp(), torch.randn(1, 7, 24).bfloat16()
    plain = layer(x)
    assert set_profile([layer], "fast") == () or type(layer) is MLP
    assert layer.activation is quick_gelu and (type(layer) is MLPAtOnce) == (kernels.unavailable() is None)
    assert error(layer(x).float(), plain.float()) < 0.02
    set_profile([layer], "plain")
    assert type(layer) is MLP and torch.equal(layer(x), plain)
