"""Reads web servers by ranges; needs aiohttp, which fsspec imports (make setup EXTRAS=http)."""

import re
from typing import Any

from fsspec.implementations.http import HTTPFileSystem

from pack.shards.store import StoreError

LARGEST = 256 << 20  # bytes of a whole file, which is an index or a list
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
            size = re.fullmatch(r"bytes .*/(\d+)", response.headers.get("Content-Range", ""))
            if response.status != 416:  # an empty file has no first byte
                self._raise_not_found_for_status(response, url)
                check_partial(response.status, url)
            if not size:
                raise StoreError(f"{url}: the server does not say the size of the file: copy the shards here first")
            return {"name": url, "size": int(size[1]), "type": "file"}


def check_partial(status: int, url: str) -> None:
    """Raise StoreError when a server answered a request of a range with the whole file."""
    if status != 206:
        raise StoreError(
            f"{url}: the server ignores ranges, which reading single records needs: use one that serves them (nginx, "
            f"Apache, Caddy, an object store), or copy the shards here first"
        )
