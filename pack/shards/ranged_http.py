"""Reads web servers by ranges; needs aiohttp, which fsspec imports (make setup EXTRAS=http)."""

import re
from html import unescape
from typing import Any
from urllib.parse import urljoin

from fsspec.implementations.http import HTTPFileSystem

from pack.shards.location import encoded
from pack.shards.store import StoreError

LARGEST = 256 << 20  # bytes of a whole file, which is an index or a list
LARGEST_PAGE = 16 << 20  # bytes of a page that lists a folder: 100,000 shards
LINK = re.compile(
    r"""<a\s[^<>]{0,1000}?href\s*=\s*(?:"([^"<>]{1,2000})"|'([^'<>]{1,2000})'|([^\s"'<>]{1,2000}))""", re.IGNORECASE
)
PLAIN = {"Accept-Encoding": "identity"}  # a range is one of the file's own bytes


class RangedHttp(HTTPFileSystem):
    """fsspec's HTTP file system, which never downloads a whole file where a range was asked for.

    A server that ignores ranges raises StoreError, whose line says what to do.
    """

    async def _cat_file(self, url: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        """The bytes from start to end, fewer when the file is shorter, or all."""
        headers, limit = PLAIN, LARGEST
        if start is not None and end is not None:
            headers, limit = PLAIN | {"Range": f"bytes={start}-{end - 1}"}, end - start
        return await self._read(url, headers, limit)

    async def _ls_real(self, url: str, detail: bool = True, **_: Any) -> list:
        """The addresses below a folder's own that its page links to."""
        page = (await self._read(url, PLAIN, LARGEST_PAGE)).decode(errors="replace")
        links = {_address(url, unescape("".join(link)).strip()) for link in LINK.findall(page)}
        names = sorted(link for link in links if link.startswith(f"{url.rstrip('/')}/"))
        return [{"name": name, "size": None, "type": "file"} for name in names] if detail else names

    async def _read(self, url: str, headers: dict[str, str], limit: int) -> bytes:
        async with (await self.set_session()).get(self.encode_url(url), headers=headers) as response:
            if response.status == 416:  # the range begins behind the end of the file
                return b""
            self._raise_not_found_for_status(response, url)
            if "Range" in headers:
                check_partial(response.status, url)
            data = bytearray()
            async for part in response.content.iter_any():
                data += part
                if len(data) > limit:
                    raise StoreError(f"{url}: the server sends more than the {limit} bytes that were asked for")
            return bytes(data)

    async def _info(self, url: str, **_: Any) -> dict[str, Any]:
        """The size of a file, from a request of its first byte."""
        headers = PLAIN | {"Range": "bytes=0-0"}
        async with (await self.set_session()).get(self.encode_url(url), headers=headers) as response:
            size = re.fullmatch(r"bytes .*/(\d{1,18})", response.headers.get("Content-Range", ""))
            if response.status != 416:  # an empty file has no first byte
                self._raise_not_found_for_status(response, url)
                check_partial(response.status, url)
            if not size:
                raise StoreError(f"{url}: the server does not say the size of the file: copy the shards here first")
            return {"name": url, "size": int(size[1]), "type": "file"}


def _address(page: str, link: str) -> str:
    """The address that a link of a page leads to, percent-encoded; empty where it is none."""
    try:
        return encoded(urljoin(page, link))
    except ValueError:  # brackets of an IPv6 address without a partner
        return ""


def check_partial(status: int, url: str) -> None:
    """Raise StoreError when a server answered a request of a range with the whole file."""
    if status != 206:
        raise StoreError(
            f"{url}: the server ignores ranges, which reading single records needs: use one that serves them (nginx, "
            f"Apache, Caddy, an object store), or copy the shards here first"
        )
