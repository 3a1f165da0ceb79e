"""Who the page answers, and what."""

import asyncio
import contextlib
import errno
import http.client
import json
import socket
import threading
from types import SimpleNamespace

import pytest

from pack.shards.exclusion import LIST
from pack.shards.shard import list_shards
from tests.support.servers.browser import served
from tests.support.shards import make_split
from tools.browse import listen
from tools.cli import UserError
from tools.inspection import server
from tools.inspection.gallery import Gallery
from tools.inspection.page import create_app


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    return make_split(tmp_path_factory.mktemp("page") / "split", records=3, shards=1, frames=2, size=16)


@pytest.fixture(scope="module")
def port(split):
    """That of a page which shows the split."""
    with served("-i", split) as url:
        yield int(url.rstrip("/").rpartition(":")[2])


def ask(port, path, method="GET", body=None, **headers):
    """Status, headers and body of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=480)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return answer.status, dict(answer.headers), data


def change(port, key, excluded=True, **headers):
    return ask(port, "/excluded", "POST", json.dumps({"key": key, "excluded": excluded}), **headers)[0]


def test_the_page_loads_nothing_from_other_machines(port):
    status, headers, html = ask(port, "/")
    assert status == 200 and b"<canvas" in html and "default-src 'none'" in headers["content-security-policy"]
    for path in ("/", "/browse.js", "/browse.css"):
        text = ask(port, path)[2]
        assert b"//" not in text.replace(b"// ", b"").replace(b'"//', b""), "an address of another machine"


@pytest.mark.parametrize(
    "path",
    [
        "/../../../../etc/passwd",
        "/..%2f..%2f..%2fetc%2fpasswd",
        "//etc/passwd",
        "/page.py",
        "/excluded.txt",
        "/s0-00.tar",
        "/records/0/../../../page.py",
        "/records/..%2f0",
        "/records/0/info/0",
        "/records/0/frame/2",
        "/records/0/frame/-1",
        "/records/3",
        "/records/-1",
        f"/records/{'9' * 5000}",
        f"/records/0/frame/{'9' * 5000}",
        f"/records/0/frame/{'9' * 60_000}",
        "/records/0/frame/..%2f..%2fbrowse.js",
    ],
)
def test_nothing_but_records_is_served(port, path):
    status, _, body = ask(port, path)
    assert status == 404 and set(json.loads(body)) == {"error"}


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example", ""]
)
def test_other_host_names_are_refused_which_defeats_dns_rebinding(port, host):
    for path in ("/", "/records", "/records/0/frame/0"):
        assert ask(port, path, Host=host)[0] == 400
    assert change(port, "test_0_0", Host=host, Origin=f"http://{host}") == 400


def test_both_names_of_this_machine_are_served(port):
    for host in (f"127.0.0.1:{port}", f"localhost:{port}"):
        assert ask(port, "/records", Host=host)[0] == 200
        assert change(port, "test_0_0", False, Host=host, Origin=f"http://{host}") == 200


@pytest.mark.parametrize(
    "origin", [None, "null", "http://evil.example", "http://127.0.0.1:1", "https://127.0.0.1:{port}"]
)
def test_a_change_requested_by_another_page_is_refused(port, split, origin):
    headers = {"Origin": origin.format(port=port)} if origin else {}
    assert change(port, "test_0_0", **headers) == 403
    assert not (split / LIST).exists() or "test_0_0" not in (split / LIST).read_text()


def test_a_get_request_changes_nothing(port, split):
    assert ask(port, "/excluded?key=test_0_0&excluded=true", Origin=f"http://127.0.0.1:{port}")[0] == 405
    assert not (split / LIST).exists() or "test_0_0" not in (split / LIST).read_text()


@pytest.mark.parametrize(
    "body", ["", "[]", '{"excluded": true}', '{"key": ["a"]}', '{"key": "../x"}', "x" * 9999, b"\xff"]
)
def test_a_change_that_names_no_record_is_refused(port, split, body):
    before = (split / LIST).read_bytes() if (split / LIST).exists() else b""
    status, _, answer = ask(port, "/excluded", "POST", body, Origin=f"http://127.0.0.1:{port}")
    assert status in (404, 413, 422) and json.loads(answer)["error"]
    assert before == ((split / LIST).read_bytes() if (split / LIST).exists() else b"")


@pytest.mark.parametrize(
    "query", ["sort=size", "show=none", "start=-1", "count=0", "count=1000000", "start=x", "sort=loss"]
)
def test_a_list_that_cannot_be_made_is_one_line(port, query):
    status, _, body = ask(port, f"/records?{query}")
    assert status == 422 and "\n" not in json.loads(body)["error"]


@pytest.mark.parametrize("path", ["/records", "/records/0", "/records/0/thumbnail", "/records/0/depth"])
def test_a_bug_is_logged_with_its_traceback_and_the_page_says_that_the_server_failed(split, path, monkeypatch):
    def plant(*_):
        raise KeyError("planted")

    for name in ("page", "record", "depth"):
        monkeypatch.setattr(Gallery, name, plant)
    gallery = Gallery(split, list_shards(split), split / LIST)
    gallery.thumbnail = plant
    with pytest.raises(KeyError, match="planted"):  # which the server then logs
        asyncio.run(call(create_app(gallery), path))
    status, body = asyncio.run(call(create_app(gallery), path, hushed=True))
    assert status == 500 and json.loads(body)["error"].startswith("the server failed (KeyError)")


@pytest.mark.parametrize("error", [UserError("bad\nrecord"), OSError(errno.EIO, "bad record")])
def test_a_record_that_cannot_be_read_is_one_line_with_status_422(split, error, monkeypatch):
    def fail(*_):
        raise error

    monkeypatch.setattr(Gallery, "record", fail)
    app = create_app(Gallery(split, list_shards(split), split / LIST))
    assert asyncio.run(call(app, "/records/0")) == (422, b'{"error": "bad record"}')


async def call(app, path, hushed=False):
    """Status and body of what the application answers to a request, or what it raises unless `hushed`."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": b""}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": [(b"host", b"localhost")]}
    with contextlib.suppress(KeyError) if hushed else contextlib.nullcontext():
        await app(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


def test_only_this_machine_can_connect_and_it_can_as_soon_as_the_address_is_known():
    with listen(0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"
        socket.create_connection(listener.getsockname(), 5).close()


def test_connections_that_ask_nothing_cost_no_more_files_than_the_page_may_have(split, capfd):
    with served("-i", split) as url, contextlib.ExitStack() as stack:
        port = int(url.rstrip("/").rpartition(":")[2])
        page = ask(port, "/")[2]
        held = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 60)) for _ in range(150)]
        for connection in held[:100]:
            connection.sendall(f"POST /excluded HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-".encode())
        assert all(map(is_closed, held[server.MOST_CONNECTIONS :]))
        for connection in held:
            connection.close()
        while (answer := again(port)) is None:
            pass
        assert answer == page
    assert capfd.readouterr().err == ""


def is_closed(connection):
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def again(port):
    """The page itself, None where the connection is closed."""
    with contextlib.suppress(ConnectionError, http.client.HTTPException):
        return ask(port, "/")[2]


def test_a_request_without_its_end_prints_nothing_when_it_is_given_up_or_the_page_is_stopped(split, capfd):
    with contextlib.ExitStack() as stack, served("-i", split) as url:
        port = int(url.rstrip("/").rpartition(":")[2])
        head = f"POST /excluded HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\n"
        for number in range(4):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), 60))
            connection.sendall(f"{head}Content-Length: 9\r\n\r\n".encode())
            if number % 2:
                connection.close()
        ask(port, "/records")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("cycle", "aborted"),
    [(None, True), (SimpleNamespace(more_body=True), True), (SimpleNamespace(more_body=False), False)],
)
def test_a_connection_whose_request_does_not_arrive_is_closed(cycle, aborted):
    ended = []
    server.FewConnections._close_if_late(
        SimpleNamespace(cycle=cycle, transport=SimpleNamespace(abort=lambda: ended.append(())))
    )
    assert ended == [()] * aborted


def test_simultaneous_changes_are_all_kept(port, split):
    keys = [entry.key for shard in list_shards(split) for entry in shard.records]
    origin = f"http://127.0.0.1:{port}"
    for excluded in (True, False) * 5:
        threads = [
            threading.Thread(target=change, args=(port, key, excluded), kwargs={"Origin": origin}) for key in keys
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted((split / LIST).read_text().split()) == (keys if excluded else [])
