"""A cache of whole shards of an object store on the local disk, shared by processes and jobs.

A shard is stored as `SHA256.tar`, so a shard that two locations have is kept once and another one of the same name is
never mistaken for it. A reader holds a shared lock on the file, which eviction respects; `SHA256.lock` is held during
the shard's download, and `cache.lock` while files are added or deleted. A download has its full size from the start, so
that the cache's size includes unfinished downloads.
"""

import contextlib
import errno
import fcntl
import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pack.shards.index import Entry, Index
from pack.shards.location import RemotePath
from pack.shards.shard import parse_record, read_record
from pack.shards.store import StoreError, read_chunks
from pack.shards.untrusted import CorruptRecord
from tools.cli import UserError
from tools.cli.errors import is_out_of_memory
from tools.cli.files import file_sha256, locked, naming, sync

SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Cache:
    """Reads records of remote shards from verified copies in `folder`, which hold at most `size` bytes together."""

    folder: Path
    size: int

    def check(self, shards: Sequence[Index]) -> None:
        """Raise UserError when the cache could not hold two of these shards, OSError when it cannot be written."""
        largest = max((shard.bytes for shard in shards if isinstance(shard.tar, RemotePath)), default=0)
        if self.size < 2 * largest:
            raise UserError(
                f"--cache-size {self.size} bytes: the largest shard has {largest}, expected room for two: "
                f"pass {2 * largest} or more"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._changing():
            pass

    def read_record(self, shard: Index, entry: Entry) -> dict[str, bytes]:
        """The members of a record, as `shard.read_record` returns them; its shard is downloaded if it is not cached.

        An error of the cache's own disk is a StoreError: it says nothing of the record.
        """
        if not isinstance(shard.tar, RemotePath):
            return read_record(shard, entry)
        with self._disk():
            data = self._read(shard, entry)
            if data is None:
                fetched = self._fetch(shard)
                data = self._read(shard, entry) if fetched else None
        if data is None:  # everything in a small cache is being read
            return read_record(shard, entry)
        try:
            return parse_record(data, entry)
        except CorruptRecord:  # damaged on the local disk or in the store: the next line raises for the latter
            members = read_record(shard, entry)
            with self._disk(), self._changing():
                self._path(shard).unlink(missing_ok=True)
            return members

    def _path(self, shard: Index) -> Path:
        return self.folder / f"{shard.sha256}.tar"

    def _files(self, suffix: str) -> list[Path]:
        """The cache's own files; a folder that has others, such as a split, loses none of them."""
        return [path for path in self.folder.glob(f"*.{suffix}") if SHA256.fullmatch(path.stem)]

    def _read(self, shard: Index, entry: Entry) -> bytes | None:
        """The bytes of a record in the cache, None when its shard is not cached."""
        try:
            file = open(self._path(shard), "rb")
        except FileNotFoundError:
            return None
        with file:
            fcntl.flock(file, fcntl.LOCK_SH)  # an evicted file keeps its bytes while it is open
            now = time.time_ns()  # of last use: disks may lack atime, and the kernel's own time stamps are coarse
            with contextlib.suppress(FileNotFoundError):
                os.utime(self._path(shard), ns=(now, now))
            with naming(self._path(shard)):
                file.seek(entry.offset)
                return file.read(entry.length)

    def _fetch(self, shard: Index) -> bool:
        """Download and verify a shard, or wait for another's download of it; False when there is no room now."""
        path = self._path(shard)
        with locked(path.with_suffix(".lock")):
            if path.exists():
                return True
            temporary = self._reserve(shard)
            if temporary is None:
                return False
            try:
                self._download(shard, temporary)
                with self._changing():
                    os.replace(temporary, path)
            finally:
                with self._changing():
                    temporary.unlink(missing_ok=True)
        return True

    def _changing(self) -> contextlib.AbstractContextManager:
        """Inside the block no other process adds or deletes files, so that their sizes can be summed up."""
        return locked(self.folder / "cache.lock")

    def _download(self, shard: Index, temporary: Path) -> None:
        with open(temporary, "r+b") as file:
            for data in read_chunks(shard.tar, shard.bytes):
                file.write(data)
            sync(file)
        found = file_sha256(temporary)
        if found != shard.sha256:
            raise CorruptRecord(
                f"{shard.tar}: found sha256 {found[:12]}, its index says {shard.sha256[:12]}: copy it again"
            )

    @contextlib.contextmanager
    def _disk(self) -> Iterator[None]:
        """Inside the block an OSError of the system becomes a StoreError: the disk is at fault, not the record."""
        try:
            yield
        except OSError as error:
            if isinstance(error, UserError) or is_out_of_memory(error) or error.errno in (errno.EMFILE, errno.ENFILE):
                raise
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            remedy = "make room or lower --cache-size" if full else "repair that, or pass another --cache-dir"
            raise StoreError(f"{self.folder}: the cache cannot be used ({error.strerror}): {remedy}") from error

    def _reserve(self, shard: Index) -> Path | None:
        """An empty file of the shard's size, after the least recently used shards were evicted; None without room."""
        temporary = self._path(shard).with_suffix(".tmp")
        with self._changing():
            temporary.unlink(missing_ok=True)  # of a killed download: we hold the lock of this shard
            self._remove_abandoned()
            files = sorted((path.stat().st_mtime_ns, path) for path in self._files("tar"))
            coming = sum(path.stat().st_size for path in self._files("tmp"))
            excess = sum(path.stat().st_size for _, path in files) + coming + shard.bytes - self.size
            for _, path in files:
                if excess <= 0:
                    break
                excess -= _evict(path)
            if excess > 0:
                return None
            with naming(temporary), open(temporary, "wb") as file:
                file.truncate(shard.bytes)
            return temporary

    def _remove_abandoned(self) -> None:
        """Delete the files of killed downloads: those whose lock no process holds."""
        for path in self._files("tmp"):
            with locked(path.with_suffix(".lock"), wait=False) as held:
                if held:
                    path.unlink(missing_ok=True)


def _evict(path: Path) -> int:
    """Delete a shard and return its bytes; 0 when it is being read."""
    with open(path, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return 0
        path.unlink()
        return os.fstat(file.fileno()).st_size
