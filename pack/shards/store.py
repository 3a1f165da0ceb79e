"""Reads files at a location: a folder, or a URL of an object store (`s3://`, `gs://`, ...) or web server (`https://`).

Passing failures (5xx, timeouts, cut connections, short reads) are tried again after random pauses that grow; others
end in one line. Credentials come from where the store's own package looks for them.
fsspec and the store's package are imported when the first URL is read, and each process makes its own client, because
clients do not survive a fork.
"""

import errno
import functools
import hashlib
import os
import random
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

from pack.shards.location import EXTRAS, Location, RemotePath, check_secrets, is_web, pointing_up
from pack.shards.untrusted import check_relative
from tools.cli import MissingFile, UserError, redact
from tools.cli.files import naming, open_file

ATTEMPTS = 9
SHORT_READS = 4  # of a range, before the file is believed to be shorter
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 20.0  # seconds; the pauses double and sum up to about 20 s
CHUNK = 16 << 20  # bytes of a request when whole files are read
# exceptions of the stores' packages besides OSError, looked up only where they are imported
CLIENT_ERRORS = {
    "botocore.exceptions": ("BotoCoreError", "ClientError", "HTTPClientError"),
    "aiohttp": ("ClientError",),
    "azure.core.exceptions": ("AzureError",),
    "gcsfs.retry": ("HttpError",),
    "google.auth.exceptions": ("GoogleAuthError",),
    "httpx": ("HTTPError",),
}
CONNECTIONS = 16  # requests at a time when the sizes of many files are asked for

NO_LIST = "name the shards instead, as {}/NAME-{{00000..00041}}.tar"
T = TypeVar("T")


class StoreError(UserError, OSError):
    """The store refuses, or has not answered in all attempts; the data itself may be intact."""


def use_endpoint(url: str) -> None:
    """Make this process and those that it starts ask another S3 server; an empty URL leaves AWS_ENDPOINT_URL alone."""
    chosen = url or os.environ.get("AWS_ENDPOINT_URL", "")
    if not chosen:
        return
    check_secrets(chosen, "--endpoint-url" if url else "AWS_ENDPOINT_URL")
    if not chosen.startswith(("http://", "https://")):
        raise UserError(f"--endpoint-url {chosen}: expected http://HOST:PORT or https://HOST")
    os.environ["AWS_ENDPOINT_URL"] = chosen


def client(path: RemotePath) -> Any:
    """This process's fsspec file system for the store. Raises UserError when its package is missing."""
    return _client(path.url.partition("://")[0], os.getpid())


@functools.cache
def _client(protocol: str, _process: int) -> Any:
    import fsspec

    options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
    if EXTRAS.get(protocol) == "s3":
        # servers other than Amazon's know no checksums of ranges; retries are ours, for they need jitter
        checksums = dict.fromkeys(("request_checksum_calculation", "response_checksum_validation"), "when_required")
        options["config_kwargs"] = {**checksums, "retries": {"max_attempts": 0}}
    try:
        if EXTRAS.get(protocol) == "http":
            from pack.shards.ranged_http import RangedHttp

            return RangedHttp(client_kwargs={"trust_env": True}, **options)  # proxies as other programs use them
        store = fsspec.filesystem(protocol, **options)
    except (ImportError, ValueError) as error:
        extra = EXTRAS.get(protocol)
        remedy = f"make setup EXTRAS={extra}" if extra else f"expected one of {', '.join(EXTRAS)}"
        raise UserError(f"{protocol}:// cannot be read: {error}: {remedy}") from error
    store.retries = 1  # of s3fs
    return store


def retry(act: Callable[[], T], path: Location) -> T:
    """The result of `act`, tried again while its failure may pass.

    Raises MissingFile when the store has no such object, StoreError when it refuses or does not answer.
    """
    for attempt in range(ATTEMPTS):
        try:
            return act()
        except StoreError:
            raise
        except _client_errors() as error:
            if isinstance(error, FileNotFoundError):
                raise MissingFile(f"{path}: the store has no such object or bucket ({_words(error)})") from error
            if refused(error):
                raise StoreError(
                    f"{path}: the store refuses ({_words(error)}): check its credentials and what they may do"
                ) from error
            if final(error):
                raise UserError(f"{path}: {_words(error)}") from error
            if attempt + 1 == ATTEMPTS:
                raise StoreError(
                    f"{path}: the store did not answer in {ATTEMPTS} attempts ({_words(error)}): "
                    f"check the network and the endpoint"
                ) from error
        time.sleep(pause(attempt))
    raise AssertionError("the last attempt returns or raises")


def pause(attempt: int) -> float:
    """Seconds to wait after a failure: twice as long each time, and random, so that many processes spread out."""
    return min(FIRST_PAUSE * 2**attempt, LONGEST_PAUSE) * random.uniform(0.5, 1)


def refused(error: BaseException) -> bool:
    """Whether the store or its package reports that the credentials do not allow this."""
    denied = isinstance(error, PermissionError) or getattr(error, "status", None) in (401, 403)
    return denied or any(word in type(error).__name__ for word in ("Credential", "Auth", "Token", "ProfileNotFound"))


def final(error: BaseException) -> bool:
    """Whether another attempt would fail in the same way."""
    at_fault = getattr(error, "errno", None) == errno.EINVAL or any(
        word in type(error).__name__ for word in ("Validation", "Certificate")
    )
    return at_fault or isinstance(error, (NotImplementedError, FileExistsError, IsADirectoryError, NotADirectoryError))


def _client_errors() -> tuple[type[BaseException], ...]:
    names = [
        (sys.modules[module], name)
        for module, names in CLIENT_ERRORS.items()
        for name in names
        if module in sys.modules
    ]
    return (OSError, *(getattr(module, name) for module, name in names if hasattr(module, name)))


def _words(error: BaseException) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return redact(" ".join(text.split()).rstrip(".")) or type(error).__name__


def read_range(path: Location, offset: int, length: int) -> bytes:
    """These bytes of a file; fewer when it is shorter. Raises OSError, or StoreError of a store."""
    if isinstance(path, Path):
        with naming(path), open_file(path) as file:
            file.seek(offset)
            return file.read(length)
    for attempt in range(SHORT_READS):  # a connection that is cut can look like the end of the file
        data = retry(lambda: client(path).cat_file(path.url, start=offset, end=offset + length), path)
        if len(data) == length:
            break
        time.sleep(pause(attempt))
    return data


def read_bytes(path: Location, limit: int, size: int | None = None) -> bytes:
    """A whole small file, of `size` bytes where that is known. Raises UserError when it has more than `limit`."""
    if isinstance(path, Path):
        with naming(path), open_file(path) as file:
            data = file.read(limit + 1)
        found = len(data)
    else:
        found = retry(lambda: client(path).info(path.url)["size"], path) if size is None else size
        data = retry(lambda: client(path).cat_file(path.url), path) if found <= limit else b""
    if found > limit:
        raise UserError(f"{path}: has more than {limit} bytes, the most that such a file may have")
    return data


def read_chunks(path: Location, size: int, start: int = 0, chunk: int = CHUNK) -> Iterator[bytes]:
    """The bytes of a file from `start` to `size`. Raises UserError when it is shorter."""
    for offset in range(start, size, chunk):
        expected = min(chunk, size - offset)
        data = read_range(path, offset, expected)
        if len(data) != expected:
            raise UserError(f"{path}: ends at byte {offset + len(data)}, expected {size}: copy it again")
        yield data


def sha256_at(path: Location, size: int) -> str:
    """The sha256 of a file of this size."""
    total = hashlib.sha256()
    for data in read_chunks(path, size):
        total.update(data)
    return total.hexdigest()


def file_size(path: Location) -> int | None:
    """Bytes of a file, None where there is none."""
    try:
        if isinstance(path, Path):
            return path.stat().st_size
        return retry(lambda: client(path).info(path.url)["size"], path)
    except FileNotFoundError:
        return None


def list_files(location: Location) -> dict[str, int]:
    """Bytes of every file in or under a folder or prefix, by its path from there; empty where there is no such folder.

    No name leads out of the folder. Raises MissingFile when the bucket is missing, UserError where a name does.
    """
    if isinstance(location, Path):
        sizes = {path.relative_to(location).as_posix(): _size(path) for path in location.rglob("*") if path.is_file()}
        return {name: size for name, size in sizes.items() if size is not None}
    if is_web(location.url):
        return _list_page(location)
    store = client(location)
    found = retry(lambda: store.find(location.url, detail=True), location)
    root = store._strip_protocol(location.url).rstrip("/") + "/"
    # an object whose name ends with a slash represents a folder
    names = [name for name in found if name.startswith(root) and not name.endswith("/")]
    files = {name.removeprefix(root): found[name]["size"] for name in names}
    _check_names(location, files)
    return files


def _check_names(location: RemotePath, names: Iterable[str], is_folder: bool = False) -> None:
    for name in names:
        try:
            check_relative(name, is_folder)
        except UserError as error:
            raise UserError(f"{location}: {error}") from None


def _list_page(location: RemotePath) -> dict[str, int]:
    """Bytes of the files that a web server's page of this folder links to."""
    store, folder = client(location), f"{location.url}/"
    try:
        links = retry(lambda: store.ls(folder, detail=False), location)
    except (MissingFile, StoreError) as error:
        raise type(error)(f"{error}; {NO_LIST.format(location)}") from error
    shown = re.compile(re.escape(folder) + r"([^/?#]+\.(?:tar|json|txt))")
    # bytes that are not UTF-8 become characters that no name may have
    names = sorted({unquote(match[1], errors="surrogateescape") for match in map(shown.fullmatch, links) if match})
    if not names:
        raise MissingFile(f"{location}: the server's page names no files; {NO_LIST.format(location)}")
    _check_names(location, names, is_folder=True)
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        sizes = pool.map(lambda name: file_size(location / name), names)
    return {name: size for name, size in zip(names, sizes, strict=True) if size is not None}


def list_folder(location: Location) -> dict[str, int]:
    """Bytes of every file in a folder or right under a prefix, by name. Raises MissingFile where there is no folder."""
    if isinstance(location, RemotePath):
        return {name: size for name, size in list_files(location).items() if "/" not in name}
    if not location.is_dir():
        found = "is a file, expected a folder of" if location.exists() else "no such folder, expected"
        remedy = pointing_up(location) or "make them with `make shards VIDEO=...`"
        raise MissingFile(f"{location}: {found} shards: {remedy}")
    with os.scandir(location) as entries:
        sizes = {entry.name: _size(entry) for entry in entries if entry.is_file()}
    return {name: size for name, size in sizes.items() if size is not None}


def _size(file: Path | os.DirEntry) -> int | None:
    """Bytes of a listed file, None where another program has deleted it since, as its temporary files."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return None
