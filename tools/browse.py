"""Shows a split in the browser: play records, sort them, and exclude bad ones from training."""

import errno
import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

if not __package__:  # run as a file: import from the repository root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from tools import cli
from tools.cli import UserError, plural

if TYPE_CHECKING:
    from tools.inspection.gallery import Gallery


@dataclass(frozen=True)
class Config:
    """Show a split on a local web page: play records, sort them, exclude bad ones from training."""

    ALIASES: ClassVar = {"data": ("-i",)}
    data: str = "data/train"  # split to show: folder or URL
    model_dir: str = ""  # folder of a training; records can then be sorted by their last losses
    exclude: str = ""  # file that the keys of excluded records are written to
    # (default: excluded.txt in the split's folder)
    model_type: str = ""  # depth model of the depth view (default: the one that the record names)
    port: int = 8760  # port of the page, which only this machine can reach; 0: any free port
    endpoint_url: str = ""  # S3 server other than Amazon's, as AWS_ENDPOINT_URL

    def __post_init__(self):
        if not 0 <= self.port < 65536:
            raise UserError(f"--port {self.port}: expected 0 to 65535")


def main() -> None:
    config = cli.parse(Config)
    try:
        from tools.inspection.page import create_app
        from tools.inspection.server import serve
    except ModuleNotFoundError as error:
        raise UserError(f"the page needs {error.name}: make setup EXTRAS=inspect") from None
    gallery = open_gallery(config)
    # depth models are only loaded from this machine: opening a page must not start a download of gigabytes
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    with listen(config.port) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        print(
            f"{address} shows {plural(len(gallery.places), 'record')} of {gallery.split}; press Ctrl-C to stop",
            flush=True,
        )
        serve(create_app(gallery), listener)


def open_gallery(config: Config) -> "Gallery":
    """The records to show. Raises UserError or OSError."""
    from pack.shards.exclusion import LIST, check_list
    from pack.shards.location import parse_location
    from pack.shards.shard import list_shards
    from pack.shards.store import use_endpoint
    from tools.inspection.gallery import Gallery

    use_endpoint(config.endpoint_url)
    split = parse_location(config.data)
    shards = list_shards(split)
    losses = None
    if config.model_dir:
        from tools.inspection.losses import read_losses  # imports torch, which takes seconds

        losses = read_losses(Path(config.model_dir), shards)
    path = Path(config.exclude) if config.exclude else split / LIST if isinstance(split, Path) else None
    if path:
        check_list(path)  # what is not a list must be reported now, not at the first click
    return Gallery(split, shards, path, losses, config.model_type)


def listen(port: int) -> socket.socket:
    """A socket that only this machine can reach. Raises UserError when the port is in use."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen()  # from now on a browser waits for the answer instead of being refused
    except OSError as error:
        listener.close()
        if error.errno != errno.EADDRINUSE:
            raise
        raise UserError(f"port {port} is in use, perhaps by another page: pass --port 0 or another port") from None
    return listener


if __name__ == "__main__":
    cli.run(main)
