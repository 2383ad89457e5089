"""What each process of a group computes, and the dials that decide it."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from tintype.errors import SettingsError
from tintype.evaluation.teaching import RECIPE, judge_training
from tintype.training.draws import Draw
from tintype.training.gradient import LossScale
from tintype.training.processes import Processes, processes
from tintype.training.recipes import TINY, adjusted
from tintype.training.sharding import clip_grad_norm, part, whole


def member(index: int, count: int) -> Processes:
    return Processes(SimpleNamespace(process_index=index, num_processes=count, device=torch.device("cpu")))  # type: ignore[arg-type]


@pytest.mark.parametrize(("count", "accumulate", "visits"), [(1, 1, 5), (2, 1, 7), (3, 2, 20), (4, 4, 16)])
def test_all_shares_together_are_the_batch(count, accumulate, visits):
    draws = [Draw(0, 0, index) for index in range(visits)]
    shares = [member(index, count).cells(draws, accumulate) for index in range(count)]
    assert [len(cells) for cells in shares] == [accumulate] * count
    cells = [cell for share in shares for cell in share]
    assert [draw for cell in cells for draw in cell.draws] == draws
    assert sum(cell.weight for cell in cells) == pytest.approx(1)
    assert all(cell.weight == pytest.approx(len(cell.draws) / visits) for cell in cells)


def test_a_batch_smaller_than_the_group_is_an_error():
    with pytest.raises(
        SettingsError, match=r"batch of 3 cannot be shared by 2 processes with accumulate=2.*at least 4"
    ):
        member(0, 2).cells([Draw(0, 0, index) for index in range(3)], 2)


def test_alone_nothing_is_changed():
    group, rows = processes(), torch.randn(3, 2, requires_grad=True)
    assert group.alone and group.is_first
    assert group.summed(rows) is rows and group.averaged(rows) is rows
    assert group.gathered(rows) == (rows, 0)
    assert group.any(True) and not group.any(False)
    assert whole({"rows": rows})["rows"].data_ptr() == rows.data_ptr() and part(rows, rows) is rows


def test_the_norm_of_what_is_not_split_is_torchs():
    ours, theirs = ([torch.nn.Parameter(torch.zeros(5)) for _ in range(3)] for _ in range(2))
    for number, (one, two) in enumerate(zip(ours, theirs, strict=True)):
        one.grad = torch.randn(5, generator=torch.Generator().manual_seed(number))
        two.grad = one.grad.clone()
    norm = torch.nn.utils.clip_grad_norm_(theirs, 0.5)
    torch.testing.assert_close(clip_grad_norm(ours, 0.5, processes()), norm)
    for one, two in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.grad, two.grad)


def test_the_scale_of_a_loss_halves_where_it_overflows_and_doubles_after_long():
    scale = LossScale()
    scale.heard(False)
    assert scale.value == 2.0**15
    for _ in range(2_000):
        scale.heard(True)
    assert (scale.value, scale.good) == (2.0**16, 0)
    again = LossScale()
    again.restore({"value": 4.0, "good": 3})
    assert vars(again) == {"value": 4.0, "good": 3}


@pytest.mark.parametrize(
    ("recipe", "dials", "words"),
    [
        (TINY.denoiser, {"precision": "fp8"}, "precision=fp8: expected fp32, bf16, fp16 or none"),
        (TINY.denoiser, {"shard": "fsdp1"}, "shard=fsdp1: expected ddp, fsdp or none"),
        (TINY.denoiser, {"accumulate": "0"}, "accumulate=0: expected 1 or more"),
        (TINY.clip, {"accumulate": "2"}, "CLIP compares all pictures of a batch"),
        (TINY.autoencoder, {"accumulate": "2", "adversarial_weight": "1"}, "Expected accumulate=1 and not fp16"),
        (TINY.autoencoder, {"precision": "fp16", "adversarial_weight": "1"}, "Expected accumulate=1 and not fp16"),
    ],
)
def test_dials_that_cannot_be(recipe, dials, words):
    with pytest.raises(SettingsError, match=words):
        adjusted(recipe, dials)


def test_the_judges_batches_are_not_divided(tmp_path):
    with pytest.raises(SettingsError, match="expected one process and accumulate=1"):
        judge_training(replace(RECIPE, accumulate=2), tmp_path)
