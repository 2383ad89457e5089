"""The kernel for attention gives what torch gives, as near to the truth, and is used for what it is for."""

import pytest
import torch
import torch.nn.functional as F

from tintype.models import Attention, attend_with
from tintype.speed import attention_of, kernels, native
from tintype.speed.profile import set_profile

needs_kernel = pytest.mark.skipif(native.unavailable() is not None, reason=f"no kernel here: {native.unavailable()}")


def inputs(batch, heads, n, s, d, *, scale=1.0):
    generator = torch.Generator().manual_seed(n * s + d)
    shapes = ((batch, n, heads, d), (batch, s, heads, d), (batch, s, heads, d))
    q, k, v = (torch.randn(shape, generator=generator).bfloat16().transpose(1, 2) for shape in shapes)
    return scale * q, k, v


SHAPES = [
    (2, 8, 256, 256, 40),  # heads of SD 1
    (1, 2, 1024, 77, 80),
    (1, 1, 211, 300, 160),
    (1, 5, 256, 256, 64),  # of SD 2 and SDXL
    (1, 1, 130, 513, 512),  # an autoencoder's
    (3, 1, 16_384, 1, 2),  # one key: its value is the answer
    (1, 2, 1, 16_385, 22),
    (2, 3, 129, 255, 96),
    (1, 1, 128, 128, 112),
    (1, 1, 130, 127, 144),
]


@needs_kernel
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("scale", [1.0, 30.0], ids=["broad", "peaked"])
def test_as_near_to_the_truth_as_torch(shape, scale):
    q, k, v = inputs(*shape, scale=scale)
    assert native._fits(q, k, v)
    truth = F.scaled_dot_product_attention(q.double(), k.double(), v.double())
    ours, theirs = (attend(q, k, v) for attend in (native.attend, F.scaled_dot_product_attention))
    assert ours.shape == theirs.shape and ours.dtype == torch.bfloat16
    errors = [(each.double() - truth).square().mean().sqrt() for each in (ours, theirs)]
    assert errors[0] <= 1.2 * errors[1] + 1e-9
    assert (ours.double() - truth).abs().max() <= 0.02 * truth.abs().max()


@needs_kernel
def test_any_strides_and_any_number_of_threads(set_threads):
    q, k, v = inputs(2, 3, 200, 150, 64)
    expected = native.attend(q, k, v)
    dense = [each.contiguous() for each in (q, k, v)]
    wide = [torch.cat([each, each.flip(-1)], dim=-1)[..., :64] for each in dense]
    for threads in (1, 2, 7):
        set_threads(threads)
        assert torch.equal(native.attend(*dense), expected) and torch.equal(native.attend(*wide), expected)


@needs_kernel
def test_threads_of_its_own_give_the_same():
    q, k, v = inputs(2, 3, 200, 150, 64)
    expected, library = native.attend(q, k, v), kernels.library()
    try:
        library.tintype_use(None)
        assert torch.equal(native.attend(q, k, v), expected)
    finally:
        library.tintype_use(kernels.team_of_torch())


@needs_kernel
def test_the_largest_scores_do_not_overflow():
    q, k, v = inputs(1, 1, 256, 256, 64, scale=1e4)
    assert native.attend(q, k, v).isfinite().all()


@needs_kernel
def test_what_is_not_a_number_is_not_hidden():
    q, k, v = inputs(1, 1, 256, 256, 64)
    v[0, 0, 3, 5] = float("nan")
    assert native.attend(q, k, v)[..., 5].isnan().all()


MASKS = {
    "causal": lambda n, s: torch.full((n, s), float("-inf")).triu(1),
    "nothing before the last key": lambda n, s: torch.full((n, s), float("-inf")).index_fill_(
        1, torch.tensor(s - 1), 0.5
    ),
    "of any size": lambda n, s: 10 * torch.randn(n, s, generator=torch.Generator().manual_seed(3)),
    "far below": lambda n, s: torch.where(torch.arange(s) % 3 == 0, -3e38, torch.arange(s) / 100).expand(n, s),
}


@needs_kernel
@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("shape", [(2, 12, 77, 77, 64), (1, 2, 130, 130, 64), (2, 3, 100, 600, 40)])
def test_a_mask(shape, kind):
    q, k, v = inputs(*shape)
    mask = MASKS[kind](*shape[2:4]).bfloat16().contiguous()
    wanted = F.scaled_dot_product_attention(q.float(), k.float(), v.float(), attn_mask=mask.float())
    theirs = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    errors = [(each.float() - wanted).norm() / wanted.norm() for each in (native.attend(q, k, v, mask), theirs)]
    assert errors[0] <= 1.1 * errors[1] + 1e-3
    without = native.attend(q, k, v)
    assert (native.attend(q, k, v, torch.zeros_like(mask)) - without).norm() <= 5e-3 * without.norm()


@needs_kernel
def test_nothing_to_look_at_is_not_a_number():
    q, k, v = inputs(1, 2, 80, 80, 64)
    mask = torch.zeros(80, 80).bfloat16()
    mask[3] = float("-inf")
    out = native.attend(q, k, v, mask)
    assert out[:, :, 3].isnan().all() and out[:, :, :3].isfinite().all() and out[:, :, 4:].isfinite().all()


def test_whatever_else_is_asked_torch_does():
    q, k, v = inputs(1, 2, 130, 130, 64)
    mask = torch.full((130, 130), float("-inf")).triu(1).bfloat16()
    for each in (mask.expand(1, 2, 130, 130), mask.t(), mask > -1):
        assert torch.equal(native.attend(q, k, v, each), F.scaled_dot_product_attention(q, k, v, attn_mask=each))
    few = inputs(1, 2, 60, 60, 64)
    odd = inputs(1, 2, 130, 130, 63)
    wide = tuple(each.float() for each in (q, k, v))
    learnt = (q.clone().requires_grad_(True), k, v)
    for case in (few, odd, wide, learnt):
        assert not native._fits(*case)
        assert torch.equal(native.attend(*case), F.scaled_dot_product_attention(*case))
    native.attend(*learnt).float().sum().backward()
    assert learnt[0].grad is not None


@needs_kernel
def test_the_fast_profile_in_bf16_has_it_and_the_plain_one_not():
    layer = Attention(64, num_heads=2).bfloat16().eval()
    x = torch.randn(1, 150, 64, generator=torch.Generator().manual_seed(0)).bfloat16()
    with torch.no_grad():
        plain = layer(x, layer.project(x))
        assert set_profile([layer], "fast") == () and attention_of(layer) == "native"
        quick = layer(x, layer.project(x))
        assert set_profile([layer], "plain") == () and attention_of(layer) == "torch"
        assert torch.equal(layer(x, layer.project(x)), plain)
    assert torch.allclose(quick, plain, atol=0.02 * float(plain.abs().max()))
    set_profile([Attention(64, num_heads=2)], "fast")
    assert attention_of(Attention(64, num_heads=2)) == "torch"


@needs_kernel
def test_what_somebody_else_put_into_the_seam_stays():
    layer = Attention(64, num_heads=2).bfloat16().eval()
    with attend_with(layer, F.scaled_dot_product_attention):
        set_profile([layer], "fast")
        assert attention_of(layer) == "torch"
        set_profile([layer], "plain")
        assert vars(layer)["attend"] is F.scaled_dot_product_attention


def test_a_library_of_another_machine_is_told(monkeypatch, tmp_path):
    path = tmp_path / "libtintype.so"
    monkeypatch.setattr(kernels, "LIBRARY", path)
    for cached in (kernels.unavailable, kernels.library):
        cached.cache_clear()
    try:
        assert "was not built" in native.unavailable()
        path.write_bytes(b"not a library")
        kernels.unavailable.cache_clear()
        assert "cannot be loaded" in native.unavailable()
    finally:
        for cached in (kernels.unavailable, kernels.library):
            cached.cache_clear()
