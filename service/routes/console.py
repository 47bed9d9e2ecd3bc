"""The console at `/`: static files that hold no data, so that a browser can load them before it has a key."""

from __future__ import annotations

import hashlib
from importlib.resources import files

from fastapi import APIRouter, Request, Response

from service.errors import UnknownRoute

router = APIRouter(include_in_schema=False)
PAGE = "index.html"
MEDIA_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
FILES = {
    file.name: file.read_bytes()
    for file in files("service").joinpath("console").iterdir()
    if file.name.rpartition(".")[2] in MEDIA_TYPES
}
POLICY = {
    "default-src": "'self'",
    "img-src": "'self' blob:",  # pictures fetched with a key
    "object-src": "'none'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
    "require-trusted-types-for": "'script'",  # no string becomes markup
    "trusted-types": "'none'",
}
# The report's frame inherits the policy of the page it stands in: inline style and pictures as data, and nothing runs.
FRAMING = {**POLICY, "style-src": "'self' 'unsafe-inline'", "img-src": "'self' data:", "frame-src": "blob:"}
FRAME = "report.html"
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


@router.get("/")
async def page(request: Request) -> Response:
    """The console's page."""
    return _file(request, PAGE)


@router.get("/console/{name}")
async def asset(request: Request, name: str) -> Response:
    """A style sheet, script or drawing of the console."""
    return _file(request, name)


def _file(request: Request, name: str) -> Response:
    """A file of the console, or 304 where the browser has it. Raises `UnknownRoute`."""
    content = FILES.get(name)
    if content is None:
        raise UnknownRoute(f"GET /console/{name[:100]}: no such file of the console")
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    policy = FRAMING if name == FRAME else POLICY
    headers = {**HEADERS, "Content-Security-Policy": "; ".join(map(" ".join, policy.items())), "ETag": tag}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=MEDIA_TYPES[name.rpartition(".")[2]])
