import pytest
import torch

from tintype.models import Attention, TextEncoder, TextEncoderConfig, attend_by_matmul, attend_with
from tintype.models.attention import causal_mask


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return Attention(16, context_dim=12, num_heads=4)


def test_written_out_equals_the_kernel(layer):
    x, context = torch.randn(2, 9, 16), torch.randn(2, 5, 12)
    plain = layer(x, layer.project(context))
    with attend_with(layer, attend_by_matmul):
        written = layer(x, layer.project(context))
    torch.testing.assert_close(written, plain)


def test_written_out_keeps_the_mask():
    q, k, v = (torch.randn(2, 4, 7, 8) for _ in range(3))
    mask = causal_mask(7, q)
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    torch.testing.assert_close(attend_by_matmul(q, k, v, mask), expected)


@pytest.mark.parametrize("attend", [Attention.attend, attend_by_matmul], ids=["kernel", "matmul"])
def test_scores_beyond_half_precision(layer, attend):
    """SD 2.1's ``upcast_attention``: q k^T passes 65,504, the scaled scores do not, and nothing overflows."""
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 2, 9, 64) * scale for scale in (100.0, 100.0, 1.0))
    assert (q @ k.transpose(-2, -1)).abs().max() > 65_504
    arguments = (q, k, v) if attend is attend_by_matmul else (layer, q, k, v)
    expected = attend(*arguments)
    halves = tuple(each.half() if isinstance(each, torch.Tensor) else each for each in arguments)
    found = attend(*halves)
    assert torch.isfinite(found).all()
    # scores of thousands pick one value; a rounded score may pick another where two are close
    close = (found.float() - expected).abs().amax(dim=-1) < 0.05
    assert close.float().mean() > 0.9


def test_replacements_nest_and_leave_no_trace(layer):
    x = torch.randn(1, 3, 16)
    context = torch.randn(1, 3, 12)
    before, state = layer(x, layer.project(context)), dict(vars(layer))

    def zeros(q, k, v, mask=None):
        return torch.zeros_like(q)

    def ones(q, k, v, mask=None):
        return torch.ones_like(q)

    with attend_with(layer, zeros):
        inner = layer(x, layer.project(context))
        with attend_with(layer, ones):
            assert not torch.equal(layer(x, layer.project(context)), inner)
        assert torch.equal(layer(x, layer.project(context)), inner)
    assert vars(layer) == state
    assert torch.equal(layer(x, layer.project(context)), before)


def test_an_error_inside_takes_the_replacement_out(layer):
    with pytest.raises(RuntimeError, match="inside"), attend_with(layer, attend_by_matmul):
        raise RuntimeError("inside")
    assert "attend" not in vars(layer)


def test_words_see_only_what_came_before():
    torch.manual_seed(0)
    tower = TextEncoder(TextEncoderConfig(vocab_size=50, dim=16, num_layers=2, num_heads=2, mlp_dim=32, end_id=49))
    ids = torch.randint(0, 48, (1, 77))
    changed = ids.clone()
    changed[:, 40:] = 3
    first, second = tower(ids).final, tower(changed).final
    assert torch.equal(first[:, :40], second[:, :40])
    assert not torch.equal(first[:, 40:], second[:, 40:])
