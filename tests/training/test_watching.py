"""A training that is looked at: as it would be unseen, to the bit; sheets, page, provenance and event files."""

import json
import struct
import sys
from dataclasses import replace
from itertools import islice, pairwise

import pytest
import torch
from PIL import Image

from tintype.errors import MissingExtraError, SettingsError, TrainingError
from tintype.training import Chain, Training
from tintype.training.draws import Draw
from tintype.training.state import load_newest_state
from tintype.training.watching import (
    EventWriter,
    Moments,
    PageWriter,
    ProvenanceKeeper,
    SheetDrawer,
    read_chain_recipe,
    sheet_of,
    watched,
    write_run_page,
)
from tintype.training.watching.curves import read_log, thinned
from tintype.training.watching.provenance import from_json, listing_hash, read_starts
from tintype.training.watching.watcher import as_used, read_about, sheets_of

SHORT = {"clip": (64, 32), "autoencoder": (24, 8), "denoiser": (48, 16)}


def begun(chain, stage, folder) -> Training:
    """A short training of a stage from random weights, in a folder of its own."""
    pictures, batch = SHORT[stage]
    recipe = replace(getattr(chain.recipe, stage), pictures=pictures, batch_size=batch, save_every=pictures // 2)
    alone = Chain(chain.recipe, folder.parent / f"{folder.name}-chain")
    alone.folder.mkdir(parents=True)
    for name in {"clip", "autoencoder", "pictures", "tokenizer", "latents"} - {stage}:
        (alone.folder / name).symlink_to(chain.folder / name)
    return Training(getattr(alone, f"{stage}_training")(recipe).task, recipe, folder)


def tensors(folder):
    state = load_newest_state(folder)
    assert state is not None
    return {f"{group}/{name}": t for group, part in state.tensors.items() for name, t in part.items()}


@pytest.mark.parametrize("stage", SHORT)
def test_a_watched_training_is_bit_identical_to_one_unseen(chain, stage, tmp_path):
    unseen, seen = begun(chain, stage, tmp_path / "unseen"), begun(chain, stage, tmp_path / "seen")
    losses = [progress.loss for progress in unseen]
    before = torch.get_rng_state()
    watchers = [
        ProvenanceKeeper(chain.recipe, tmp_path / "run"),
        SheetDrawer(sheet_of(chain, seen), Moments(every=1)),
        PageWriter(tmp_path / "seen"),
    ]
    assert [progress.loss for progress in watched(seen, watchers)] == losses
    assert torch.equal(torch.get_rng_state(), before)
    ours, theirs = tensors(tmp_path / "seen"), tensors(tmp_path / "unseen")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)

    pictures, batch = SHORT[stage]
    assert [count for count, _ in sheets_of(tmp_path / "seen")] == [*range(0, pictures + 1, batch)]
    sheets = [Image.open(path).tobytes() for _, path in sheets_of(tmp_path / "seen")]
    assert sheets[0] != sheets[-1]
    about = read_about(tmp_path / "seen")
    assert about["kind"] == {"clip": "similarities", "autoencoder": "reconstructions", "denoiser": "paintings"}[stage]
    assert set(about["sheets"]) == {str(count) for count, _ in sheets_of(tmp_path / "seen")}


def test_sheets_are_of_the_averaged_weights_which_go_again(chain, tmp_path):
    training = begun(chain, "denoiser", tmp_path / "averaged")
    list(training)
    assert training.ema is not None
    model = training.task.model
    model.train()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    with pytest.raises(KeyboardInterrupt), as_used(training):
        assert not model.training
        assert all(torch.equal(p, training.ema.weights[name]) for name, p in model.named_parameters())
        assert any(not torch.equal(p, before[name]) for name, p in model.named_parameters())
        torch.rand(3)
        raise KeyboardInterrupt
    assert model.training
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_similarities_are_what_the_towers_say(chain, tmp_path):
    training = begun(chain, "clip", tmp_path / "alone")
    image, values = sheet_of(chain, training).draw()
    rows = chain.rows(16)
    pairs = training.task.batch([Draw(chain.recipe.seed, 0, index) for index in range(16)])
    with torch.no_grad():
        _, metrics = training.task.loss(pairs)
    assert len(values["similarity"]) == values["of"] == len(rows) == 16
    assert image.size == (17 * 24, 16 * 24)
    assert values["found"] >= round(16 * float(metrics["retrieval_at_1"]))
    darkest = min(range(16), key=lambda column: values["similarity"][3][column])
    lightest = max(range(16), key=lambda column: values["similarity"][3][column])
    at = [sum(image.getpixel((24 * (column + 1) + 12, 3 * 24 + 12))) for column in (darkest, lightest)]
    assert at[0] < at[1]


@pytest.mark.parametrize(
    ("text", "passed"),
    [("100", [100, 200, 300]), ("50,250", [64, 256]), ("250,", [256]), ("none", [])],
)
def test_moments(text, passed):
    moments, steps = Moments.read(text), [*range(0, 321, 32)]
    found = [after for before, after in pairwise(steps) if moments.passed(before, after)]
    expected = [next(step for step in steps if step >= count) for count in passed]
    assert found == expected
    assert moments.never == (text == "none")


@pytest.mark.parametrize("text", ["", "0", "few", "10,few", "-5"])
def test_counts_that_are_none(text):
    with pytest.raises(SettingsError, match="expected a count of pictures"):
        Moments.read(text)


def test_the_folder_tells_how_to_repeat_the_run(chain, tmp_path):
    training = begun(chain, "denoiser", tmp_path / "denoiser")
    keeper = ProvenanceKeeper(chain.recipe, tmp_path)
    list(islice(watched(training, [keeper]), 2))
    training.save()
    list(watched(Training(training.task, training.recipe, training.folder), [keeper]))
    first, second = read_starts(tmp_path / "denoiser")
    assert (first["seen"], second["seen"]) == (0, 32)
    assert from_json(type(training.recipe), second["recipe"]) == training.recipe
    assert second["data"]["pictures"] == 48
    assert {"tintype", "torch", "python", "threads", "device"} <= set(second["environment"])
    assert read_chain_recipe(tmp_path) == chain.recipe
    records = training.task.examples.shards.records
    changed = replace(training.task.examples.shards, records=[records[1], records[0], *records[2:]])
    assert second["data"]["listing_sha256"] == listing_hash(training.task.examples.shards) != listing_hash(changed)
    done = Training(training.task, training.recipe, training.folder)
    assert list(watched(done, [keeper])) == [], "nothing is left to learn"
    assert len(read_starts(tmp_path / "denoiser")) == 2


def test_a_recipe_that_is_not_there_or_not_one(tmp_path):
    with pytest.raises(TrainingError, match=r"has no recipe\.json"):
        read_chain_recipe(tmp_path)
    (tmp_path / "recipe.json").write_text('{"size": 64}')
    with pytest.raises(TrainingError, match="no recipe of a run"):
        read_chain_recipe(tmp_path)


def test_the_page_is_rewritten_at_each_state_and_never_half(chain, tmp_path):
    training = begun(chain, "autoencoder", tmp_path / "run/autoencoder")
    pages = []
    watchers = [
        ProvenanceKeeper(),
        SheetDrawer(sheet_of(chain, training), Moments(every=16)),
        PageWriter(tmp_path / "run"),
    ]
    for _ in watched(training, watchers):
        pages.append((tmp_path / "run/run.html").read_text())
    last = (tmp_path / "run/run.html").read_text()
    seen = [next(count for count in (24, 16, 8, 0) if f">{count} of 24<" in page) for page in (*pages, last)]
    assert seen == [0, 16, 16, 24]  # it saves at 16 and at the end
    assert all(page.endswith("</html>\n") for page in (*pages, last))
    assert [path.name for path in (tmp_path / "run").iterdir() if path.name.startswith(".")] == []
    for told in ("PSNR", "psnr", "parameters", training.recipe.__class__.__name__[:4], "listing of the data", "torch"):
        assert told.lower() in last.lower()
    assert last.count("data:image/webp") == len(sheets_of(tmp_path / "run/autoencoder")) == 3
    assert "http" not in last.replace("http-equiv", "")


def test_names_never_become_code(tmp_path):
    folder = tmp_path / "<img src=x onerror=alert(1)>"
    folder.mkdir()
    assert "<img src=x" not in write_run_page(folder).read_text()


def test_curves_are_means_and_leave_out_what_is_not_finite(tmp_path):
    curve = thinned("loss", [8, 16, 24, 32], [1.0, float("nan"), 5.0, float("inf")], points=2)
    assert (curve.seen, curve.values) == ((16, 32), (1.0, 5.0))
    assert read_log(tmp_path) is None
    line = {
        "seen": 8,
        "loss": 1.0,
        "metrics": {},
        "lr": 0.1,
        "grad_norm": 2.0,
        "pictures_per_second": 4.0,
        "skipped": 0,
    }
    (tmp_path / "log.jsonl").write_text(json.dumps(line) + "\n" + json.dumps({**line, "seen": 16})[:20])
    log = read_log(tmp_path)
    assert log is not None and (log.steps, log.seen, log.seconds) == (1, 8, 2.0)


def test_event_files_hold_the_curves(chain, tmp_path):
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event

    training = begun(chain, "clip", tmp_path / "alone")
    steps = list(watched(training, [SheetDrawer(sheet_of(chain, training), Moments(at=(32,))), EventWriter()]))
    (file,) = (tmp_path / "alone/events").iterdir()
    content, place, values = file.read_bytes(), 0, {}
    while place < len(content):  # TFRecord: length, its checksum, data, its checksum
        (length,) = struct.unpack("<Q", content[place : place + 8])
        event = Event.FromString(content[place + 12 : place + 12 + length])
        place += length + 16
        for value in event.summary.value:
            values[value.tag, event.step] = value
    assert [values["loss", step.seen].simple_value for step in steps] == pytest.approx([step.loss for step in steps])
    assert values["sheet", 64].image.width == 17 * 24


def test_event_files_need_an_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(MissingExtraError, match=r"tintype\[tensorboard\]"):
        EventWriter()
