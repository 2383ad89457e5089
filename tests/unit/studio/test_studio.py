"""What the studio does: pictures that develop, stop, come again; errors in one line; several pages at once."""

from __future__ import annotations

import base64
import io
import json
import re
import threading
import urllib.request
from itertools import count, pairwise

import numpy as np
import pytest
from PIL import Image

from tests.unit.pipeline.tiny import tiny_model
from tintype.pipeline.outputs import read_record, save_image
from tintype.pipeline.settings import Settings
from tintype.studio import jobs


def png(size: tuple[int, int] = (80, 64), seed: int = 0) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def ended(client, id: str) -> dict:
    """A job's last event, once it is there; the events before it are checked to be in order."""
    events = parse(client.get(f"/api/jobs/{id}/events").text)
    assert [number for number, _, _ in events] == list(range(len(events)))
    return {"kind": events[-1][1], **events[-1][2]}


def parse(text: str) -> list[tuple[int, str, dict]]:
    found = []
    for block in text.strip().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines())
        found.append((int(lines["id"]), lines["event"], json.loads(lines["data"])))
    return found


def draw(client, **settings) -> dict:
    answer = client.post("/api/runs", json={"prompt": "a red boat"} | settings)
    assert answer.status_code == 200, answer.text
    return ended(client, answer.json()["id"])


def test_the_page_and_its_parts_are_served(client):
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    parts = set(re.findall(r'(?:src|href)="(/page/[^"]+)"', page.text))
    parts |= {f"/page/{name}" for name in ("api.js", "form.js", "tray.js", "strip.js", "drop.js")}
    for part in parts:
        answer = client.get(part)
        assert answer.status_code == 200, part
        for imported in re.findall(r'from "\./([\w.]+)"', answer.text):
            assert client.get(f"/page/{imported}").headers["content-type"].startswith("text/javascript")
    assert len(parts) >= 8


def test_a_picture_develops_and_is_the_one_that_the_library_draws(client, folder):
    id = client.post("/api/runs", json={"prompt": "a red boat", "seed": 7}).json()["id"]
    events = parse(client.get(f"/api/jobs/{id}/events").text)
    assert [kind for _, kind, _ in events] == ["begin", "step", "step", "step", "step", "made"]
    assert events[0][2]["settings"]["seed"] == 7
    previews = [data["preview"] for _, kind, data in events if kind == "step"]
    assert len(set(previews)) == 4
    image = Image.open(io.BytesIO(base64.b64decode(previews[-1].removeprefix("data:image/png;base64,"))))
    assert image.size == (64, 64)

    made = events[-1][2]
    answer = client.get(f"/pictures/{made['name']}")
    assert answer.headers["content-type"] == "image/png"
    (expected,) = tiny_model().text2img("a red boat", seed=7).images
    assert np.array(Image.open(io.BytesIO(answer.content))).tolist() == np.array(expected).tolist()
    assert read_record(folder / made["name"])["settings"] == made["settings"]


def test_who_follows_late_hears_what_is_missing(client):
    id = client.post("/api/runs", json={"prompt": "a red boat", "seed": 7}).json()["id"]
    everything = parse(client.get(f"/api/jobs/{id}/events").text)
    rest = parse(client.get(f"/api/jobs/{id}/events", headers={"Last-Event-ID": "2"}).text)
    assert rest == everything[3:]


def test_previews_of_what_is_over_are_given_back(client, studio):
    made = draw(client, seed=1)
    (job,) = studio._jobs.values()
    draw(client, seed=2)
    assert not any(event.data["preview"] for event in job._events if event.kind == "step")
    assert ended(client, job.id) == made | {"preview": None}


def test_the_strip_has_what_was_made_and_again_repeats_it(client):
    first, second = draw(client, seed=1), draw(client, seed=2, negative_prompt="blue", steps=3, sampler="euler_a")
    strip = client.get("/api/pictures").json()
    assert [made["name"] for made in strip] == [second["name"], first["name"]]
    assert (strip[0]["settings"]["sampler"], strip[0]["settings"]["negative_prompt"]) == ("euler_a", "blue")
    again = draw(client, **strip[0]["settings"])
    assert again["name"] != second["name"]
    pictures = [client.get(f"/pictures/{made['name']}").content for made in (second, again)]
    assert Image.open(io.BytesIO(pictures[0])).tobytes() == Image.open(io.BytesIO(pictures[1])).tobytes()


def test_one_of_a_batch_comes_again_alone(client, folder):
    run = tiny_model().text2img(["a red boat", "a cosmic beach"], seed=5, batch_size=2)
    for index, image in enumerate(run.images):
        record = {"settings": run.settings.to_dict(), "index": index, "model": "tiny"}
        save_image(image, folder / f"{index}.png", record)
    for made in client.get("/api/pictures").json():
        again = draw(client, **made["settings"])
        images = [Image.open(folder / name) for name in (made["name"], again["name"])]
        difference = np.abs(np.array(images[0], dtype=int) - np.array(images[1], dtype=int)).max()
        assert difference <= 1  # alone and in a batch, sums come out a little differently


def test_a_dropped_picture_is_altered(client, folder):
    dropped = client.post("/api/dropped", content=png(), headers={"Content-Type": "application/octet-stream"}).json()
    assert (dropped["width"], dropped["height"]) == (80, 64)
    made = draw(client, image_sha256=dropped["sha256"], strength=0.5, seed=3)
    assert (made["width"], made["settings"]["strength"]) == (80, 0.5)
    (expected,) = tiny_model().img2img(png(), "a red boat", strength=0.5, seed=3).images
    assert Image.open(folder / made["name"]).tobytes() == expected.tobytes()
    assert client.get(f"/dropped/{dropped['sha256']}").headers["content-type"] == "image/png"
    for file in (folder / "dropped").iterdir():
        file.unlink()
    answer = client.post("/api/runs", json=made["settings"])
    assert answer.status_code == 400 and "drop it again" in answer.json()["error"]


def test_stop_keeps_what_is_there(client, studio):
    id = client.post("/api/runs", json={"prompt": "a red boat", "steps": 900, "seed": 1}).json()["id"]
    job = studio.job(id)
    while not any(event.kind == "step" for event in job._events):
        job.join(0.01)
    client.post(f"/api/jobs/{id}/stop", json={})
    made = ended(client, id)
    assert made["kind"] == "made"
    assert 0 < made["stopped_after"] < 900
    assert client.get("/api/pictures").json()[0]["stopped_after"] == made["stopped_after"]


IMPOSSIBLE = [
    ({"width": 100}, "multiple of 8"),
    ({"width": 4096}, "at most 2048"),
    ({"sampler": "eulr"}, "euler"),
    ({"steps": 0}, "steps"),
    ({"steps": "many"}, "steps"),
    ({"seed": "0x10"}, "seed"),
    ({"strength": 0.5}, "strength"),
    ({"batch_size": 2}, "one picture"),
    ({"prompt": ["a", "b"]}, "one picture"),
    ({"prompt": None}, "prompt"),
    ({"nonsense": 1}, "nonsense"),
    ({"prompt": "a <lora:../../secret:1>"}, "path"),
    ({"loras": [["/etc/passwd", 1]]}, "path"),
    ({"embeddings": ["../secret.pt"]}, "path"),
    ({"image_sha256": "../../x"}, "drop it again"),
]


def test_what_cannot_be_is_told_in_one_line(client, studio):
    for settings, word in IMPOSSIBLE:
        answer = client.post("/api/runs", json={"prompt": "a boat"} | settings)
        assert answer.status_code == 400, settings
        assert word in answer.json()["error"] and "\n" not in answer.json()["error"]
    assert not studio._jobs


def test_what_is_no_request_is_told(client):
    for body in (b"", b"{", b"[" * 100_000, b"[]", b'"text"', b"1" * 5000):
        answer = client.post("/api/runs", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 400 and answer.json()["error"], body[:10]


def test_an_error_while_it_draws_ends_the_job_in_one_line(client, studio, monkeypatch):
    def broken(*_):
        raise RuntimeError("out of memory\nand more")

    monkeypatch.setattr(studio.sd, "predict", broken)
    assert draw(client) == {"kind": "error", "message": "RuntimeError: out of memory"}


def test_a_large_seed_goes_to_the_page_and_back_exactly(client, folder):
    made = draw(client, seed=str(2**64 - 1))
    assert made["settings"]["seed"] == str(2**64 - 1)
    assert read_record(folder / made["name"])["settings"]["seed"] == 2**64 - 1
    assert draw(client, **made["settings"])["settings"] == made["settings"]


def test_what_is_no_picture_of_ours_is_not_in_the_strip(client, folder):
    folder.mkdir()
    (folder / "text.png").write_text("no picture")
    Image.new("RGB", (64, 64)).save(folder / "foreign.png")
    for number, record in zip(
        count(), [{}, [], {"settings": 1}, {"settings": {"prompt": ""}, "index": 7}], strict=False
    ):
        save_image(Image.new("RGB", (64, 64)), folder / f"{number}.png", record)
    (folder / "link.png").symlink_to(folder / "foreign.png")
    assert client.get("/api/pictures").json() == []


def test_too_many_at_once_are_turned_away(client, monkeypatch):
    monkeypatch.setattr(jobs, "MOST_AT_ONCE", 2)
    ids = [client.post("/api/runs", json={"prompt": "a", "steps": 900}).json()["id"] for _ in range(2)]
    answer = client.post("/api/runs", json={"prompt": "a"})
    assert answer.status_code == 400 and "2 pictures are being drawn" in answer.json()["error"]
    for id in ids:
        client.post(f"/api/jobs/{id}/stop", json={})
        ended(client, id)
    assert draw(client)["kind"] == "made"


def listen(address: str, id: str, heard: list[tuple[str, dict]]) -> None:
    with urllib.request.urlopen(f"{address}/api/jobs/{id}/events", timeout=60) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        kind = ""
        for line in answer:
            name, _, value = line.decode().strip().partition(": ")
            if name == "event":
                kind = value
            elif name == "data":
                heard.append((kind, json.loads(value)))


def test_two_pages_at_once_get_their_own_pictures(address):
    """Over real connections, as the pictures are drawn: each hears only of its own, and they take turns."""
    times = []

    def page(seed: int, heard: list) -> None:
        body = json.dumps({"prompt": "a red boat", "seed": seed, "steps": 30}).encode()
        request = urllib.request.Request(f"{address}/api/runs", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            listen(address, json.load(answer)["id"], Recorder(heard, seed, times))

    class Recorder(list):
        def __init__(self, heard: list, seed: int, times: list) -> None:
            self.heard, self.seed, self.times = heard, seed, times

        def append(self, event) -> None:
            self.heard.append(event)
            self.times.append(self.seed)

    heard = {1: [], 2: []}
    threads = [threading.Thread(target=page, args=(seed, heard[seed])) for seed in heard]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, events in heard.items():
        assert [kind for kind, _ in events] == ["begin", *["step"] * 30, "made"]
        assert events[0][1]["settings"]["seed"] == events[-1][1]["settings"]["seed"] == seed
        (alone,) = tiny_model().text2img("a red boat", seed=seed, steps=30).images
        with urllib.request.urlopen(f"{address}/pictures/{events[-1][1]['name']}") as answer:
            assert Image.open(io.BytesIO(answer.read())).tobytes() == alone.tobytes()
    turns = sum(before != after for before, after in pairwise(times))
    assert turns > 2, "one was drawn after the other"


def test_steps_are_heard_while_it_draws(address):
    """Not all at the end: the first steps of a long run arrive, and then it is stopped."""
    body = json.dumps({"prompt": "a red boat", "steps": 900}).encode()
    headers = {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(f"{address}/api/runs", body, headers)) as answer:
        id = json.load(answer)["id"]
    with urllib.request.urlopen(f"{address}/api/jobs/{id}/events", timeout=60) as answer:
        for line in answer:
            if line == b"event: step\n":
                break
        urllib.request.urlopen(urllib.request.Request(f"{address}/api/jobs/{id}/stop", b"{}", headers)).close()
        assert b"event: made\n" in answer.read()


def test_settings_that_the_page_gets_are_settings(client):
    assert Settings.from_dict(draw(client)["settings"]).num_images == 1


def test_the_model_is_told(client):
    model = client.get("/api/model").json()
    assert model["name"] == "tiny"
    assert model["defaults"] == {"width": 64, "height": 64, "steps": 4, "guidance_scale": 5.0}
    assert {"ddim", "euler_a"} <= set(model["samplers"])


@pytest.mark.parametrize("start", ["words", "picture"])
def test_a_picture_is_illustrated(client, folder, start):
    """The page lies beside the picture, and is of the run that drew it."""
    others = {"seed": 7, "steps": 3}
    if start == "picture":
        kind = {"Content-Type": "application/octet-stream"}
        others |= {"image_sha256": client.post("/api/dropped", content=png(), headers=kind).json()["sha256"]}
    name = draw(client, **others)["name"]
    answer = client.post(f"/api/pictures/{name}/illustrate", json={})
    assert answer.status_code == 200, answer.text
    end = ended(client, answer.json()["id"])
    assert (end["kind"], end["page"]) == ("made", f"{name.removesuffix('.png')}.html")
    page = client.get(f"/pages/{end['page']}")
    assert page.status_code == 200 and "a red boat" in page.text and (folder / end["page"]).is_file()
    (made,) = client.get("/api/pictures").json()
    assert made["page"] == end["page"]
