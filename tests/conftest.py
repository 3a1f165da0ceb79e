"""What several test files share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pack.store import _client
from tests import s3
from tools.clips import fetch_clips


@pytest.fixture(scope="session")
def clips() -> Path:
    """Folder with the real clips bigbuckbunny.mp4, bikes.mp4 and cityCC0.mpg, fetched where they are missing."""
    folder = Path(__file__).resolve().parents[1] / "clips"
    fetch_clips(folder)
    return folder


@pytest.fixture
def s3_server(tmp_path_factory) -> Iterator[tuple[Path, int]]:
    """A real S3 server: the folder of its only bucket, and its port."""
    root = tmp_path_factory.mktemp("s3") / "buckets"
    with s3.serve(root) as port:
        yield root / s3.BUCKET, port


@pytest.fixture
def store(s3_server, monkeypatch) -> Iterator[s3.Proxy]:
    """A proxy before that server, which this process and its children ask."""
    with s3.proxied(s3_server[1]) as proxy:
        environment = s3.environment(proxy.url)
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        _client.cache_clear()
        yield proxy
        _client.cache_clear()
