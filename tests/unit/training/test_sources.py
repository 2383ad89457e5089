"""Anybody's pictures: every place that the world keeps them in is read, in one order, with its words."""

from __future__ import annotations

import io
import json
import tarfile

import pytest
from PIL import Image

from tintype.errors import ImageError, TrainingError
from tintype.images import read_picture
from tintype.training.sources import open_source
from tintype.training.sources.source import fingerprint


def picture(path, colour="red", size=(40, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def names_and_words(source):
    return [(item.name, item.captions) for item in source.items]


def test_an_imagefolder(tmp_path):
    for name in ("b.png", "sub/a.jpg", "c.png"):
        picture(tmp_path / name)
    lines = [
        {"file_name": "b.png", "text": "a red square"},
        {"file_name": "sub/a.jpg", "text": ["one", "two"]},
        {"file_name": "gone.png", "text": "never there"},
    ]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    source = open_source(tmp_path)
    assert names_and_words(source) == [
        ("b.png", ("a red square",)),
        ("gone.png", ("never there",)),
        ("sub/a.jpg", ("one", "two")),
    ]
    assert source.notices == ("1 pictures that no metadata file names were left out",)
    assert read_picture(source.read(2)).rgb.size == (40, 30)
    with pytest.raises(ImageError, match="is not there"):
        source.read(1)


def test_a_csv(tmp_path):
    picture(tmp_path / "a.png")
    (tmp_path / "metadata.csv").write_text('file_name,caption\na.png,"red, and square"\n')
    assert names_and_words(open_source(tmp_path)) == [("a.png", ("red, and square",))]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"file_name": "a.png"}', "no caption.*text, caption"),
        ('{"text": "a"}', "names no picture"),
        ("{", "line 1 is no JSON"),
        ("[]", "expected an object"),
        ('{"file_name": "../a.png", "text": "a"}', "outside of the folder"),
    ],
)
def test_metadata_that_cannot_be_understood(tmp_path, line, words):
    picture(tmp_path / "a.png")
    (tmp_path / "metadata.jsonl").write_text(line)
    with pytest.raises(TrainingError, match=words):
        open_source(tmp_path)


def test_side_cars_and_repeats(tmp_path):
    for name in ("10_red boat/1.png", "10_red boat/2.webp", "3.PNG", "2_nothing/deep/4.png"):
        picture(tmp_path / name)
    (tmp_path / "10_red boat/1.txt").write_text("a boat\n\na red boat at sea\n")
    (tmp_path / "3.caption").write_text("\ufeffa square")
    source = open_source(tmp_path)
    assert [(item.name, item.captions, item.repeats) for item in source.items] == [
        ("10_red boat/1.png", ("a boat", "a red boat at sea"), 10),
        ("10_red boat/2.webp", ("red boat",), 10),
        ("2_nothing/deep/4.png", ("nothing",), 2),
        ("3.PNG", ("a square",), 1),
    ]


def test_the_fingerprint_is_of_the_pictures_and_not_of_the_place(tmp_path):
    for folder in ("one", "two"):
        picture(tmp_path / folder / "a.png")
        (tmp_path / folder / "a.txt").write_text("a")
    one, two = (fingerprint(open_source(tmp_path / folder)) for folder in ("one", "two"))
    assert one == two
    (tmp_path / "two/a.txt").write_text("b")
    assert fingerprint(open_source(tmp_path / "two")) != one


def test_shards_as_webdataset_writes_them(tmp_path):
    webdataset = pytest.importorskip("webdataset")
    for shard in range(2):
        with webdataset.TarWriter(str(tmp_path / f"{shard:03d}.tar")) as sink:
            for number in range(3):
                sample = {"__key__": f"{shard}/{number:04d}", "png": Image.new("RGB", (8 + number, 9), "red")}
                sample |= {"txt": f"text {number}"} if shard else {"json": {"caption": f"json {number}", "x": 1}}
                sink.write(sample)
    source = open_source(tmp_path)
    theirs = webdataset.WebDataset([str(p) for p in sorted(tmp_path.glob("*.tar"))], shardshuffle=False)
    samples = list(theirs)
    assert [item.name.split(":")[1] for item in source.items] == [sample["__key__"] for sample in samples]
    assert [source.read(i) for i in range(6)] == [sample["png"] for sample in samples]
    assert [item.captions for item in source.items[2:4]] == [("json 2",), ("text 0",)]
    braces = open_source(str(tmp_path / "{000..001}.tar"))
    assert fingerprint(braces) == fingerprint(source)
    with pytest.raises(TrainingError, match=r"1 of 3 shards are not there, first .*002\.tar"):
        open_source(str(tmp_path / "{000..002}.tar"))


def test_a_shard_with_what_could_run_code_and_no_end(tmp_path):
    path = tmp_path / "a.tar"
    png = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(png, "PNG")
    with tarfile.open(path, "w") as tar:
        for name, content in (("1.pyd", b"cos\nsystem\n."), ("1.png", png.getvalue()), ("2.png", png.getvalue())):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    whole = path.read_bytes()
    path.write_bytes(whole[: 512 * 3 + len(png.getvalue()) + 1000])
    source = open_source(path)
    assert [item.name for item in source.items] == ["a.tar:1", "a.tar:2"]
    assert read_picture(source.read(0)).rgb.size == (64, 64)
    with pytest.raises(ImageError, match="ends inside this picture"):
        source.read(1)
    (tmp_path / "b.tar").write_bytes(b"no tar at all")
    with pytest.raises(TrainingError, match="no tar file"):
        open_source(tmp_path / "b.tar")


@pytest.fixture
def dataset(monkeypatch, tmp_path):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    png = io.BytesIO()
    Image.new("RGB", (20, 10), "blue").save(png, "PNG")
    rows = {"image": [{"bytes": png.getvalue(), "path": None}, None], "text": ["a blue oblong", None]}
    features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})
    return datasets.Dataset.from_dict(rows, features=features)


def test_a_dataset_that_was_saved(dataset, tmp_path):
    dataset.save_to_disk(str(tmp_path / "saved"))
    source = open_source(tmp_path / "saved")
    assert names_and_words(source) == [("row 0", ("a blue oblong",)), ("row 1", ())]
    assert read_picture(source.read(0)).rgb.size == (20, 10)
    with pytest.raises(ImageError, match="row 1 has no picture"):
        source.read(1)


def test_parquet_files(dataset, tmp_path):
    (tmp_path / "parquet/data").mkdir(parents=True)
    dataset.to_parquet(str(tmp_path / "parquet/data/train-0.parquet"))
    dataset.to_parquet(str(tmp_path / "parquet/data/test-0.parquet"))
    assert names_and_words(open_source(tmp_path / "parquet")) == [("row 0", ("a blue oblong",)), ("row 1", ())]


def test_a_table_without_pictures(dataset, tmp_path):
    dataset.remove_columns("image").save_to_disk(str(tmp_path / "saved"))
    with pytest.raises(TrainingError, match=r"no column of pictures.*got text"):
        open_source(tmp_path / "saved")


def test_places_where_nothing_is(tmp_path):
    with pytest.raises(TrainingError, match=r"There is no folder.*hf:NAME"):
        open_source(tmp_path / "nowhere")
    with pytest.raises(TrainingError, match="No picture in"):
        open_source(tmp_path)
