"""The page of a split as a web application: what it answers, and to whom.

It is for the browser of the person who started it. A page of another origin may neither read (no CORS, and its host
name is refused, so that DNS rebinding does not help it) nor change anything (POST asks for this origin). No path of a
request names a file: records go by number.
"""

import json
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tools.cli import one_line
from tools.inspection.gallery import Gallery, Wish

HOSTS = ("127.0.0.1", "localhost")
HEADERS = {
    "Cache-Control": "no-store",  # another split may be shown at the same address tomorrow
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
FILES = {  # all that is served besides records
    "/": ("browse.html", "text/html"),
    "/browse.js": ("browse.js", "text/javascript"),
    "/browse.css": ("browse.css", "text/css"),
}
KINDS = ("frame", "mask", "depth")
LONGEST_BODY = 4096  # bytes: a key, and yes or no


def create_app(gallery: Gallery) -> Starlette:
    """The application that shows a gallery."""
    page = Page(gallery)
    routes = [Route(path, send_file) for path in FILES]
    routes += [
        Route("/records", page.list_records),
        Route("/records/{number:int}", page.show_record),
        Route("/records/{number:int}/thumbnail", page.show_thumbnail),
        Route("/records/{number:int}/depth", page.estimate_depth),
        Route("/records/{number:int}/{kind}/{frame:int}", page.show_picture),
        Route("/excluded", page.exclude, methods=["POST"]),
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS, www_redirect=False)],
        exception_handlers=dict.fromkeys((HTTPException, ValueError, OSError, SyntaxError), tell),
    )


def send_file(request: Request) -> Response:
    name, kind = FILES[request.scope["route"].path]
    return answer(Path(__file__).with_name(name).read_bytes(), kind)


class Page:
    """What requests ask of a gallery; those that are no coroutines run in threads."""

    def __init__(self, gallery: Gallery):
        self.gallery = gallery

    def list_records(self, request: Request) -> Response:
        query = request.query_params
        wish = Wish(
            query.get("sort", "packed"),
            query.get("descending") == "true",
            query.get("show", "all"),
            int(query.get("start", 0)),
            int(query.get("count", 24)),
        )
        return as_json(self.gallery.page(wish))

    def show_record(self, request: Request) -> Response:
        return as_json(self.gallery.record(self.number(request)))

    def show_thumbnail(self, request: Request) -> Response:
        return answer(self.gallery.thumbnail(self.number(request)), "image/jpeg")

    def estimate_depth(self, request: Request) -> Response:
        return as_json({"text": self.gallery.depth(self.number(request))[0]})

    def show_picture(self, request: Request) -> Response:
        kind, frame = request.path_params["kind"], request.path_params["frame"]
        if kind not in KINDS:
            raise HTTPException(404)
        try:
            data, image_format = self.gallery.picture(self.number(request), kind, frame)
        except IndexError:
            raise HTTPException(404, "the record has no such frame") from None
        return answer(data, f"image/{image_format}")

    async def exclude(self, request: Request) -> Response:
        if request.headers.get("origin") != f"http://{request.headers['host']}":
            raise HTTPException(403, "only this page may change the list")
        wish = json.loads(await read_body(request))
        key = wish.get("key") if isinstance(wish, dict) else None
        if not isinstance(key, str) or key not in self.gallery.numbers:
            raise HTTPException(404, "there is no such record")
        await run_in_threadpool(self.gallery.exclude, key, wish.get("excluded") is True)
        return as_json({})

    def number(self, request: Request) -> int:
        number = request.path_params["number"]
        if number >= len(self.gallery.places):
            raise HTTPException(404, "there is no such record")
        return number


async def read_body(request: Request) -> bytes:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LONGEST_BODY:
            raise HTTPException(413)
    return body


def answer(data: bytes, kind: str, status: int = 200) -> Response:
    return Response(data, status, HEADERS, kind)


def as_json(fields: dict[str, Any], status: int = 200) -> Response:
    return answer(json.dumps(fields).encode(), "application/json", status)


def tell(_: Request, error: Exception) -> Response:
    """A mistake, or a record that cannot be read, as one line for the page."""
    if isinstance(error, HTTPException):
        return as_json({"error": error.detail}, error.status_code)
    return as_json({"error": one_line(error)}, 422)
