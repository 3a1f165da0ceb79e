"""What several test files share."""

from pathlib import Path

import pytest

from tools.clips import fetch_clips


@pytest.fixture(scope="session")
def clips() -> Path:
    """Folder with the real clips bigbuckbunny.mp4, bikes.mp4 and cityCC0.mpg, fetched where they are missing."""
    folder = Path(__file__).resolve().parents[1] / "clips"
    fetch_clips(folder)
    return folder
