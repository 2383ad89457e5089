from __future__ import annotations

import threading
from pathlib import Path

import pytest
import uvicorn
from fastapi.testclient import TestClient

from tests.unit.pipeline.tiny import tiny_model
from tintype.studio import serve
from tintype.studio.app import create_app
from tintype.studio.gallery import Gallery
from tintype.studio.jobs import Studio


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> str:
    """For the map from latents to colours: the tiny model's is fitted once."""
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "outputs"


@pytest.fixture
def studio(folder, cache, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", cache)
    studio = Studio(tiny_model(), Gallery(folder))
    yield studio
    studio.stop_all()


@pytest.fixture
def client(studio):
    with TestClient(create_app(studio), base_url="http://localhost:8420") as client:
        yield client


@pytest.fixture
def address(studio):
    """A real server on a free port."""
    listening = serve._listen(0)
    server = uvicorn.Server(uvicorn.Config(create_app(studio), log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    while not server.started:
        thread.join(0.01)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join()
    listening.close()
