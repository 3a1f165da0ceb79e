"""Web servers on loopback: one that serves ranges, and Python's own, which does not."""

import contextlib
import io
import re
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Plain(SimpleHTTPRequestHandler):
    """Python's handler; it notes the requests and lists no folder if the server says so."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.requests.append((self.path, self.headers.get("Range", "")))
        if self.server.refuses and self.server.refuses in self.path:
            self.send_error(403)
            return
        super().do_GET()

    def list_directory(self, path):
        if self.server.lists:
            return super().list_directory(path)
        self.send_error(403)
        return None

    def log_message(self, *_) -> None:
        pass


class Ranged(Plain):
    """Serves single ranges as RFC 9110 says."""

    def send_head(self):
        path = Path(self.translate_path(self.path))
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if not asked or not path.is_file():
            return super().send_head()
        size, (first, last) = path.stat().st_size, map(int, asked.groups())
        with open(path, "rb") as file:
            file.seek(first)
            data = file.read(last + 1 - first + self.server.excess)
        shown = f"{first}-{first + len(data) - 1}" if data else "*"
        self.send_response(206 if data else 416)
        self.send_header("Content-Range", f"bytes {shown}/{size}")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        return io.BytesIO(data)


@contextlib.contextmanager
def serve(folder: Path, handler: type[Plain] = Ranged, lists: bool = True) -> Iterator[ThreadingHTTPServer]:
    """A server of the folder, with its `url` and the `requests` (path, range) that it got.

    `refuses` is a path that it denies, `excess` the bytes that it sends beyond a range.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), lambda *args: handler(*args, directory=str(folder)))
    server.requests, server.lists, server.refuses, server.excess = [], lists, "", 0
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
