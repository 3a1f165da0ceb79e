"""What a container can hold, and what can be decoded, is found out by trial."""

from fractions import Fraction
from types import SimpleNamespace

import av
import pytest

from pack.video.output import tracks
from pack.video.output.subtitles import SubtitleConverter
from tests.support.media.videos import film


def fail(*_):
    raise av.error.MemoryError(12, "Cannot allocate memory")


def failing_head():
    yield fail()


def trials(path):
    """Each trial with a step in it that asks for more memory than there is."""
    with av.open(str(path)) as container:
        yield lambda: tracks.takes("matroska", container.streams.audio[0], failing_head())
        yield lambda: tracks._decodes(container.streams.audio[0], [SimpleNamespace(decode=fail)])
        converter = SubtitleConverter.__new__(SubtitleConverter)
        converter.decoder = SimpleNamespace(decode2=fail)
        yield lambda: any(converter.convert(SimpleNamespace(size=1, pts=0), Fraction(0)))


@pytest.mark.parametrize("short", [False, True])
def test_a_track_is_not_left_out_because_memory_is_short(tmp_path, monkeypatch, short):
    path = film(tmp_path / "a.mkv", 1)
    if short:  # else a damaged size asked for it
        monkeypatch.setattr("pack.video.container.np.empty", fail)
    for trial in trials(path):
        if short:
            with pytest.raises(MemoryError):
                trial()
        else:
            assert not trial()
