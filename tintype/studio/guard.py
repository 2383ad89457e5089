"""Who may ask: pages of this very server, opened under a name of this machine. Nobody else, by whatever road.

A web page from anywhere can make a browser send requests to a server on the same machine. Three things keep it out:

- The name in ``Host`` must be one of the loopback's. A foreign name that was made to point here (DNS rebinding) is not.
- ``Origin`` and ``Sec-Fetch-Site``, which browsers send and pages cannot forge, must be those of our own page; this
  holds for reading too, so that no other page can show the pictures.
- What changes anything must carry a content type that no form can send without asking first.
"""

from __future__ import annotations

import re
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse

LOOPBACK = {"127.0.0.1", "localhost", "[::1]"}
CHANGING = {"POST", "PUT", "PATCH", "DELETE"}
CONTENT_TYPES = ("application/json", "application/octet-stream")

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class Guard:
    """ASGI middleware: turns away what is not ours, and puts the headers on that keep the page to itself."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: D102
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":  # there are no websockets here
            return None
        complaint = _complaint(scope["method"], Headers(scope=scope))

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        if complaint is None:
            return await self.app(scope, receive, send_with_headers)
        return await JSONResponse({"error": complaint}, 403)(scope, receive, send_with_headers)


def _complaint(method: str, headers: Headers) -> str | None:
    """Why a request is turned away; None for one that is ours."""
    hosts = headers.getlist("host")
    if len(hosts) != 1 or re.sub(r":\d{1,5}$", "", hosts[0].lower()) not in LOOPBACK:
        return "This studio answers only under the names of this machine: localhost or 127.0.0.1."
    if any(origin.lower() != f"http://{hosts[0].lower()}" for origin in headers.getlist("origin")):
        return "This request comes from another page."
    if any(site not in ("same-origin", "none") for site in headers.getlist("sec-fetch-site")):
        return "This request comes from another page."
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if method in CHANGING and kind not in CONTENT_TYPES:
        return f"The content type is {kind or 'missing'!r}; expected {' or '.join(CONTENT_TYPES)}."
    return None
