"""Where shards are: a folder, or a URL of an object store (`s3://`, `gs://`, ...) or web server (`https://`).

A URL that holds credentials is refused, because it would be written to logs.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from tools.cli import UserError

SPLITS = ("train", "eval")  # folders of a dataset
# extra requirements that read the URLs of a protocol: make setup EXTRAS=...
EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "az": "az", "abfs": "az", "abfss": "az", "hf": "hf"}
EXTRAS |= {"https": "http", "http": "http"}


@dataclass(frozen=True, order=True)
class RemotePath:
    """An object or a prefix of a store, with the part of Path's interface that shards use.

    URLs of web servers are percent-encoded, names never are.
    """

    url: str

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> "RemotePath":
        return RemotePath(f"{self.url.rstrip('/')}/{quote(name, safe='/') if is_web(self.url) else name}")

    @property
    def name(self) -> str:
        last = self.url.rpartition("/")[2]
        decoded = unquote(last) if is_web(self.url) else last
        return last if "/" in decoded else decoded  # a name is never a path

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


Location = Path | RemotePath


def pointing_up(folder: Path) -> str:
    """What to do where a folder such as data/train/train is missing because a split was named, not its dataset."""
    named = folder.parent
    if folder.name in SPLITS and named.name in SPLITS and any(named.glob("*.json")):
        return f"{named} is a split, name {named.parent} instead"
    return ""


def is_web(url: str) -> bool:
    """Whether a web server is asked, and not an object store."""
    return url.startswith(("https://", "http://"))


def encoded(url: str) -> str:
    """The URL of a web server with what its path may not hold, such as spaces, percent-encoded; escapes stay."""
    protocol, separator, rest = url.partition("://")
    host, slash, path = rest.partition("/")  # names of hosts have an encoding of their own, which is the client's task
    return protocol + separator + host + slash + quote(path, safe="/%:@!$&'()*+,;=~[]")


def parse_location(text: str) -> Location:
    """The folder or URL that a user named. Raises UserError, which quotes no secret, when a URL holds one."""
    protocol, separator, rest = text.partition("://")
    if not separator:
        if re.match(rf"({'|'.join(EXTRAS)}|https?|memory):", text) and not Path(text).exists():
            protocol = text.partition(":")[0]  # what follows may hold a password
            raise UserError(f"{protocol}:... is not a URL, expected {protocol}://BUCKET/PREFIX")
        return Path(text)
    check_secrets(text, "the source or destination")
    host = rest.partition("/")[0]
    if not host:
        raise UserError(f"{text}: names no bucket, expected {protocol}://BUCKET/PREFIX")
    return RemotePath(encoded(text).rstrip("/") if is_web(text) else text.rstrip("/"))


def check_secrets(url: str, what: str) -> None:
    """Raise UserError when a URL holds a user, a password or a query, which would be written to logs."""
    protocol, _, rest = url.partition("://")
    host, _, _ = rest.partition("/")
    user, at, _ = rest.rpartition("@")
    signed_in = (":" in user.partition("/")[0] and at) or ("@" in host and not protocol.startswith("abfs"))
    if signed_in or "?" in rest or "#" in host:
        raise UserError(
            f"{what} is a {protocol}:// URL with a user, a password or a query: expected {protocol}://NAME/PATH alone; "
            f"credentials belong to the usual place of the store, as AWS_ACCESS_KEY_ID or ~/.aws/credentials"
        )
