"""Who is turned away, and what cannot be reached."""

from __future__ import annotations

import os
import socket
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from tests.unit.studio.test_studio import draw, png
from tintype.errors import SettingsError
from tintype.studio import app as studio_app
from tintype.studio import serve
from tintype.studio.app import create_app

HOSTS = ["localhost:8420", "127.0.0.1:8420", "[::1]:8420", "localhost", "LOCALHOST:9000"]
RAW = {"Content-Type": "application/octet-stream"}
ORIGINS = [
    *("http://evil.example", "null", "http://localhost:3000", "https://localhost:8420", "http://localhost", ""),
    *("file://", "http://evil.example:8420", "http://localhost:8420.evil.example"),
]
FOREIGN_HOSTS = [
    *("evil.example", "evil.example:8420", "localhost.evil.example", "127.0.0.1.evil.example:8420", ""),
    *("evil.example:80@localhost", "localhost:8420:1", "0.0.0.0:8420", "192.168.0.2:8420", "[::]:8420"),
]


def test_the_names_of_this_machine_are_answered(client):
    for host in HOSTS:
        assert client.get("/", headers={"Host": host}).status_code == 200, host
        own = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
        assert client.post("/api/dropped", content=png(), headers=own | RAW).status_code == 200, host


def test_a_name_that_was_made_to_point_here_is_not(client):
    for host in FOREIGN_HOSTS:
        for path in ("/", "/api/pictures", "/page/studio.js", "/nowhere"):
            assert client.get(path, headers={"Host": host}).status_code == 403, host


def test_other_pages_change_and_read_nothing(client, studio):
    for origin in ORIGINS:
        headers = {"Origin": origin}
        assert client.post("/api/runs", json={"prompt": "a"}, headers=headers).status_code == 403, origin
        assert client.post("/api/dropped", content=png(), headers=headers | RAW).status_code == 403, origin
        assert client.get("/api/pictures", headers=headers).status_code == 403, origin
    assert not studio._jobs and not studio.gallery.folder.exists()


def test_other_pages_show_no_pictures_of_ours(client):
    name = draw(client)["name"]
    assert client.get(f"/pictures/{name}").status_code == 200
    for site in ("cross-site", "same-site"):
        assert client.get(f"/pictures/{name}", headers={"Sec-Fetch-Site": site}).status_code == 403


def test_forms_change_nothing(client, studio):
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
        headers = {"Content-Type": kind} if kind else {}
        assert client.post("/api/runs", content=b'{"prompt": "a"}', headers=headers).status_code == 403, kind
    assert not studio._jobs


def test_every_answer_keeps_the_page_to_itself(client):
    for answer in (
        client.get("/"),
        client.get("/api/model"),
        client.get("/nowhere"),
        client.get("/", headers={"Host": "x"}),
    ):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in answer.headers


@pytest.fixture
def secret(folder):
    folder.mkdir(exist_ok=True)
    for name in ("secret.png", "secret.html", "secret.txt"):
        if name.endswith(".png"):
            Image.new("RGB", (64, 64)).save(folder.parent / name)
        else:
            (folder.parent / name).write_text("secret")
    (folder / "inside").mkdir()
    Image.new("RGB", (64, 64)).save(folder / "inside" / "deep.png")
    (folder / "link.png").symlink_to(folder.parent / "secret.png")
    (folder / "link.html").symlink_to(folder.parent / "secret.html")
    (folder / ".hidden.png").write_text("secret")
    (folder / "notes.txt").write_text("secret")
    return folder.parent


NAMES = [
    *(
        "../secret.png",
        "..%2fsecret.png",
        "%2e%2e/secret.png",
        "%2e%2e%2fsecret.png",
        "..\\secret.png",
        "..%5csecret.png",
    ),
    *("inside/deep.png", "inside%2fdeep.png", "link.png", "link.html", ".hidden.png", "notes.txt", "../secret.txt"),
    *(
        "secret.png%00.png",
        "%00",
        ".",
        "..",
        "%2e%2e",
        "a" * 5000 + ".png",
        "....//secret.png",
        "%c0%ae%c0%ae/secret.png",
    ),
]


def test_nothing_outside_the_folder_is_reached(client, secret):
    absolute = (quote(str(secret / "secret.png"), safe=""), f"{secret}/secret.txt")
    for place in ("pictures", "pages", "dropped", "page"):
        for name in (*NAMES, *absolute):
            answer = client.get(f"/{place}/{name}")
            if answer.status_code == 200:  # the client itself made / of /pictures/.. before it asked
                assert answer.url.path == "/", name
            else:
                assert answer.status_code in (400, 404), (place, name)
                assert list(answer.json()) == ["error"], (place, name)


def test_a_picture_that_is_too_large_is_not_taken(client, folder, monkeypatch):
    monkeypatch.setattr(studio_app, "MOST_PICTURE", 10_000)
    answer = client.post("/api/dropped", content=b"x" * 10_001, headers=RAW)
    assert answer.status_code == 413 and "smaller" in answer.json()["error"]
    assert client.post("/api/runs", json={"prompt": "a" * studio_app.MOST_JSON}).status_code == 413
    assert not folder.exists()


def test_a_body_without_an_end_is_read_only_so_far(address):
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as line:
        head = "POST /api/runs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        line.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        answer = b""
        for _ in range(64):
            try:
                line.sendall(chunk)
            except OSError:  # it does not listen any longer
                break
        while not answer.startswith(b"HTTP/1.1 4") and (data := line.recv(1024)):
            answer += data
    assert b" 413 " in answer.splitlines()[0]


def test_a_damaged_picture_is_told(client, folder):
    for data in (b"", b"no picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 100, png()[:200]):
        answer = client.post("/api/dropped", content=data, headers=RAW)
        assert answer.status_code == 400 and answer.json()["error"], data[:10]
    assert not (folder / "dropped").exists()


def test_a_page_that_was_illustrated_is_a_page_from_nowhere(client, folder):
    name = draw(client)["name"].replace(".png", ".html")
    (folder / name).write_text("<script>fetch('/api/pictures')</script>")
    policy = client.get(f"/pages/{name}").headers["content-security-policy"]
    assert policy.startswith("sandbox") and "allow-same-origin" not in policy
    assert client.get("/api/pictures").json()[0]["page"] == name


def test_it_listens_on_the_loopback_only(studio):
    with serve._listen(0) as listening:
        host, port = listening.getsockname()
        assert host == "127.0.0.1"
        if os.name == "posix":
            with pytest.raises(SettingsError, match=f"Port {port} cannot be used"):
                serve._listen(port)


def test_the_addresses_that_change_something_are_known(studio):
    """Whoever adds one looks here: what it changes must not be within a foreign page's reach."""
    changing = {
        (method, route.path)
        for route in create_app(studio).routes
        for method in getattr(route, "methods", ())
        if method not in ("GET", "HEAD")
    }
    assert changing == {
        ("POST", "/api/runs"),
        ("POST", "/api/jobs/{id}/stop"),
        ("POST", "/api/dropped"),
        ("POST", "/api/pictures/{name}/illustrate"),
    }


def test_a_client_without_a_browser_is_welcome(studio):
    with TestClient(create_app(studio), base_url="http://127.0.0.1:1") as client:
        assert client.get("/api/model").status_code == 200
