"""Reads shards wherever they lie: in a folder, or under a URL of an object store (`s3://`, `gs://`, ...).

What passes (5xx, timeouts, cut connections, short reads) is tried again after pauses that grow and are drawn at random;
what does not is one line. Credentials come from the store's own places; a URL that holds any is refused.
fsspec and the store's package are imported when the first URL is read, and each process makes its own client, because
clients do not survive a fork.
"""

import errno
import functools
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pack.shards import shard
from pack.shards.shard import Entry, Index, parse_index, parse_record
from tools.cli import MissingFile, UserError

ATTEMPTS = 9
SHORT_READS = 4  # of a range, before the file is believed to be shorter
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 20.0  # seconds; the pauses double and sum up to about 20 s
CHUNK = 16 << 20  # bytes of a request when whole files are read
READERS = 16  # indexes that are read at a time
# what the stores' packages raise besides OSError, looked up only where they are imported
CLIENT_ERRORS = {
    "botocore.exceptions": ("BotoCoreError", "ClientError", "HTTPClientError"),
    "aiohttp": ("ClientError",),
    "azure.core.exceptions": ("AzureError",),
    "gcsfs.retry": ("HttpError",),
    "google.auth.exceptions": ("GoogleAuthError",),
    "httpx": ("HTTPError",),
}
EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "az": "az", "abfs": "az", "abfss": "az", "hf": "hf"}

T = TypeVar("T")


class StoreError(UserError, OSError):
    """The store refuses, or has not answered in all attempts: nothing is known of the data."""


@dataclass(frozen=True, order=True)
class RemotePath:
    """An object or a prefix of a store, with those names of a Path that shards use."""

    url: str

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> "RemotePath":
        return RemotePath(f"{self.url.rstrip('/')}/{name}")

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        return Path(self.name).suffix

    @property
    def stem(self) -> str:
        return Path(self.name).stem

    @property
    def parent(self) -> "RemotePath":
        return RemotePath(self.url.rpartition("/")[0])

    def with_suffix(self, suffix: str) -> "RemotePath":
        return self.parent / (self.stem + suffix)


Place = Path | RemotePath


def parse_place(text: str) -> Place:
    """The folder or URL that a user named. Raises UserError, which quotes no secret, when a URL holds one."""
    protocol, separator, rest = text.partition("://")
    if not separator:
        return Path(text)
    check_secrets(text, "the source or destination")
    host = rest.partition("/")[0]
    if not host:
        raise UserError(f"{text}: names no bucket, expected {protocol}://BUCKET/PREFIX")
    return RemotePath(text.rstrip("/"))


def check_secrets(url: str, what: str) -> None:
    """Raise UserError when a URL holds a user, a password or a query, which would come to stand in logs."""
    protocol, _, rest = url.partition("://")
    host, _, _ = rest.partition("/")
    user, at, _ = rest.rpartition("@")
    signed_in = (":" in user.partition("/")[0] and at) or ("@" in host and not protocol.startswith("abfs"))
    if signed_in or "?" in rest or "#" in host:
        raise UserError(
            f"{what} is a {protocol}:// URL with a user, a password or a query: expected {protocol}://NAME/PATH alone; "
            f"credentials belong to the usual place of the store, as AWS_ACCESS_KEY_ID or ~/.aws/credentials"
        )


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
        store = fsspec.filesystem(protocol, **options)
    except (ImportError, ValueError) as error:
        extra = EXTRAS.get(protocol)
        mend = f"make setup EXTRAS={extra}" if extra else f"expected one of {', '.join(EXTRAS)}"
        raise UserError(f"{protocol}:// cannot be read: {error}: {mend}") from error
    store.retries = 1  # of s3fs
    return store


def retry(act: Callable[[], T], path: Place) -> T:
    """What `act` returns, tried again while its failure may pass.

    Raises MissingFile when the store says that there is no such thing, StoreError when it refuses or stays away.
    """
    for attempt in range(ATTEMPTS):
        try:
            return act()
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
    """Seconds to wait after a failure, twice as long each time and drawn: many processes must not come at once."""
    return min(FIRST_PAUSE * 2**attempt, LONGEST_PAUSE) * random.uniform(0.5, 1)


def refused(error: BaseException) -> bool:
    """Whether the store or its package says that these credentials may not do this."""
    return isinstance(error, PermissionError) or any(
        word in type(error).__name__ for word in ("Credential", "Auth", "Token", "ProfileNotFound")
    )


def final(error: BaseException) -> bool:
    """Whether asking the same again is in vain."""
    at_fault = getattr(error, "errno", None) == errno.EINVAL or "Validation" in type(error).__name__
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
    return " ".join(text.split()).rstrip(".") or type(error).__name__


def read_range(path: Place, offset: int, length: int) -> bytes:
    """These bytes of a file; fewer when it is shorter. Raises OSError, or StoreError of a store."""
    if isinstance(path, Path):
        with open(path, "rb") as file:
            file.seek(offset)
            return file.read(length)
    for attempt in range(SHORT_READS):  # a connection that is cut can look like the end of the file
        data = retry(lambda: client(path).cat_file(path.url, start=offset, end=offset + length), path)
        if len(data) == length:
            break
        time.sleep(pause(attempt))
    return data


def read_bytes(path: Place) -> bytes:
    """A whole small file."""
    if isinstance(path, Path):
        return path.read_bytes()
    return retry(lambda: client(path).cat_file(path.url), path)


def read_chunks(path: Place, size: int, start: int = 0, chunk: int = CHUNK) -> Iterator[bytes]:
    """The bytes of a file from `start` to `size`. Raises OSError when it is shorter."""
    for offset in range(start, size, chunk):
        expected = min(chunk, size - offset)
        data = read_range(path, offset, expected)
        if len(data) != expected:
            raise UserError(f"{path}: ends at byte {offset + len(data)}, expected {size}: copy it again")
        yield data


def list_files(place: Place) -> dict[str, int]:
    """Bytes of every file in or under a folder or prefix, by its path from there; none where there is no such folder.

    Raises MissingFile when the bucket is missing.
    """
    if isinstance(place, Path):
        return {path.relative_to(place).as_posix(): path.stat().st_size for path in place.rglob("*") if path.is_file()}
    store = client(place)
    found = retry(lambda: store.find(place.url, detail=True), place)
    root = store._strip_protocol(place.url).rstrip("/") + "/"
    return {name.removeprefix(root): info["size"] for name, info in found.items() if name.startswith(root)}


def list_shards(place: Place) -> list[Index]:
    """The shards of a split, by name, as `pack.shards.shard.list_shards` of a folder.

    Raises MissingFile when there is none, UserError when a tar is missing or has another size than its index
    says, StoreError when the store refuses or stays away.
    """
    if isinstance(place, Path):
        return shard.list_shards(place)
    sizes = list_files(place)
    names = sorted(name for name in sizes if name.endswith(".json") and "/" not in name)
    if not names:
        raise MissingFile(
            f"{place}: holds no shard, expected NAME.tar with NAME.json: "
            f"copy them there with `make push DEST={place.parent}`"
        )
    with ThreadPoolExecutor(READERS) as pool:
        shards = list(pool.map(lambda name: read_index(place / name), names))
    for found in shards:
        check_size(found, sizes.get(found.tar.name))
    return shards


def read_index(path: Place) -> Index:
    """The index at `path`. Raises UserError when it is not one of ours or of another version."""
    return parse_index(read_bytes(path), path)


def check_size(found: Index, size: int | None) -> None:
    """Raise UserError when the store has no tar for the index, or one of another size."""
    if size is None:
        raise UserError(
            f"{found.tar.with_suffix('.json')}: its tar {found.tar.name} is missing: copy it again or remove the index"
        )
    if size != found.bytes:
        raise UserError(f"{found.tar}: found {size} bytes, its index says {found.bytes}: copy or pack the shard again")


def read_record(shard: Index, entry: Entry) -> dict[str, bytes]:
    """The members of a record by extension, in one request. Raises CorruptRecord, OSError or StoreError."""
    return parse_record(read_range(shard.tar, entry.offset, entry.length), entry)
