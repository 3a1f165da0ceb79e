"""The web application behind the page that shows a split.

It serves only the browser of the user who started it. A page of another origin can neither read anything (there is no
CORS, and other host names are refused, which defeats DNS rebinding) nor change anything (POST requires this origin).
No request path names a file: records are addressed by number.
"""

import json
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.convertors import IntegerConvertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from tools.cli import UserError, one_line
from tools.inspection.gallery import Gallery, MissingFrame, Wish

HOSTS = ("127.0.0.1", "localhost")
HEADERS = {
    "Cache-Control": "no-store",  # the same address may show another split later
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
FILES = {  # served besides records
    "/": ("browse.html", "text/html"),
    "/browse.js": ("browse.js", "text/javascript"),
    "/browse.css": ("browse.css", "text/css"),
}
KINDS = ("frame", "mask", "depth")
LONGEST_BODY = 4096  # bytes: a key and a bool


class Number(IntegerConvertor):
    """A number in a path: of more digits than Python converts, there is no record."""

    regex = "[0-9]{1,9}"


register_url_convertor("number", Number())


def create_app(gallery: Gallery) -> Starlette:
    """The application that shows a gallery."""
    page = Page(gallery)
    routes = [Route(path, send_file) for path in FILES]
    routes += [
        Route("/records", page.list_records),
        Route("/records/{number:number}", page.show_record),
        Route("/records/{number:number}/thumbnail", page.show_thumbnail),
        Route("/records/{number:number}/depth", page.estimate_depth),
        Route("/records/{number:number}/{kind}/{frame:number}", page.show_picture),
        Route("/excluded", page.exclude, methods=["POST"]),
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS, www_redirect=False)],
        exception_handlers={**dict.fromkeys((HTTPException, UserError, OSError), refuse), Exception: report_failure},
    )


def send_file(request: Request) -> Response:
    """One of the page's own files."""
    name, kind = FILES[request.scope["route"].path]
    return answer(Path(__file__).with_name(name).read_bytes(), kind)


class Page:
    """Answers requests from a gallery; Starlette runs the methods that are not coroutines in threads."""

    def __init__(self, gallery: Gallery):
        self.gallery = gallery

    def list_records(self, request: Request) -> Response:
        query = request.query_params
        wish = Wish(
            query.get("sort", "packed"),
            query.get("descending") == "true",
            query.get("show", "all"),
            number_in(query.get("start", "0")),
            number_in(query.get("count", "24")),
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
        data, image_format = self.gallery.picture(self.number(request), kind, frame)
        return answer(data, f"image/{image_format}")

    async def exclude(self, request: Request) -> Response:
        if request.headers.get("origin") != f"http://{request.headers['host']}":
            raise HTTPException(403, "only this page can change the list")
        key, excluded = parse_change(await read_body(request))
        if key not in self.gallery.numbers:
            raise HTTPException(404, "there is no such record")
        await run_in_threadpool(self.gallery.exclude, key, excluded)
        return as_json({})

    def number(self, request: Request) -> int:
        """The number of the record that a request is about."""
        number = request.path_params["number"]
        if number >= len(self.gallery.places):
            raise HTTPException(404, "there is no such record")
        return number


def number_in(text: str) -> int:
    """A number of a query. Raises UserError."""
    if not text.isascii() or not text.isdecimal() or len(text) > 9:
        raise UserError(f"cannot list records from {text[:20]!r}: expected a number")
    return int(text)


def parse_change(body: bytes) -> tuple[str, bool]:
    """The key of a record and whether to exclude it, from the body of a request. Raises UserError."""
    try:
        change = json.loads(body)
    except (ValueError, RecursionError):
        change = None
    if not isinstance(change, dict) or not isinstance(change.get("key"), str):
        raise UserError('cannot read the request: expected {"key": ..., "excluded": ...}')
    return change["key"], change.get("excluded") is True


async def read_body(request: Request) -> bytes:
    """The body of a request, refused when it is too long."""
    body = b""
    try:
        async for part in request.stream():
            body += part
            if len(body) > LONGEST_BODY:
                raise HTTPException(413)
    except ClientDisconnect as error:
        raise HTTPException(400, "the request has no end") from error
    return body


def answer(data: bytes, kind: str, status: int = 200) -> Response:
    return Response(data, status, HEADERS, kind)


def as_json(fields: dict[str, Any], status: int = 200) -> Response:
    return answer(json.dumps(fields).encode(), "application/json", status)


def refuse(_: Request, error: Exception) -> Response:
    """A wrong request, or a record that cannot be read: one line for the page."""
    if isinstance(error, HTTPException):
        return as_json({"error": error.detail}, error.status_code)
    return as_json({"error": one_line(error)}, 404 if isinstance(error, MissingFrame) else 422)


def report_failure(_: Request, error: Exception) -> Response:
    """A bug: the page reports it, and the server logs the traceback."""
    return as_json({"error": f"the server failed ({type(error).__name__}): its terminal shows the traceback"}, 500)
