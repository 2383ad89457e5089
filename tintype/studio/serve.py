"""The studio's server: on the loopback only."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import uvicorn

from tintype.errors import SettingsError
from tintype.pipeline.stable_diffusion import StableDiffusion
from tintype.studio.app import create_app
from tintype.studio.gallery import Gallery
from tintype.studio.jobs import Studio

HOST = "127.0.0.1"

SECONDS_TO_CLOSE = 2
"""For the pages that still listen when the server goes down."""


def serve(sd: StableDiffusion, folder: Path, port: int, ready: Callable[[str], None] = lambda address: None) -> None:
    """Serve until Ctrl-C. Port 0 is any that is free; ``ready`` is told the address once it listens.

    Raises:
        SettingsError: the port is taken, or not allowed.
    """
    listening = _listen(port)
    address = f"http://{HOST}:{listening.getsockname()[1]}/"

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            ready(address)

    app = create_app(Studio(sd, Gallery(folder.expanduser().resolve())))
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=SECONDS_TO_CLOSE
    )
    with listening:
        Server(config).run([listening])


def _listen(port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if os.name == "posix":  # elsewhere it would let two programs listen on one port
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
        listening.listen()
    except (OSError, OverflowError) as error:
        listening.close()
        raise SettingsError(
            f"Port {port} cannot be used ({getattr(error, 'strerror', None) or error}); give another with --port, "
            "or --port 0 for any that is free."
        ) from error
    return listening
