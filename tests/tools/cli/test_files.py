import hashlib
import os
import signal
import subprocess
import sys
import threading

import pytest

from tests.support import ROOT
from tools.cli import UserError
from tools.cli.files import (
    check_result,
    file_sha256,
    locked_folder,
    open_file,
    read_small,
    temporary_path,
    whole_file,
    write_file,
)


def start_writer(path):
    """A process that has begun to write the file `path` and waits."""
    code = (
        "import sys; from tools.cli.files import whole_file\n"
        "with whole_file(sys.argv[1]) as file:\n"
        "    file.write(b'half'); file.flush(); print('ready', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, path], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"ready\n"
    return process


def test_the_file_has_its_name_only_when_it_is_complete(tmp_path):
    path = tmp_path / "a.json"
    with whole_file(path) as file:
        file.write(b"data")
        assert not path.exists()
    assert path.read_bytes() == b"data" and list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    write_file(path, b"old")
    with pytest.raises(KeyError), whole_file(path) as file:
        file.write(b"new")
        raise KeyError
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_pipe_or_a_device_is_neither_replaced_nor_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        with pytest.raises(UserError, match="is a device or a pipe, which a file would replace"):
            write_file(tmp_path / name, b"data")
    for path in (tmp_path / "pipe", tmp_path / "link", "/dev/zero"):
        with pytest.raises(UserError, match="is a device or a pipe, expected a file"):
            open_file(path)
    assert (tmp_path / "pipe").is_fifo() and len(list(tmp_path.iterdir())) == 2


def test_a_folder_is_refused_as_the_name_of_a_file_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for path in ("folder", "", ".", "/"):
        with pytest.raises(UserError, match="is a folder, expected the name of a file"):
            write_file(path, b"data")
    assert list(tmp_path.rglob("*")) == [tmp_path / "folder"]


def test_a_file_that_is_read_whole_is_a_file_and_has_an_end(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a").write_bytes(bytes(9))
    for path in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(UserError, match="is a device or a pipe, expected a file"):
            read_small(path)
    assert read_small(tmp_path / "a", 9) == bytes(9)
    with pytest.raises(UserError, match="has more than 8 bytes"):
        read_small(tmp_path / "a", 8)


def test_a_temporary_name_carries_the_process_and_a_random_part_and_ends_in_tmp(tmp_path):
    names = {temporary_path(tmp_path / "a.json").name for _ in range(100)}
    assert len(names) == 100
    assert all(name.startswith(f"a.json.{os.getpid()}.") and name.endswith(".tmp") for name in names)


INTERRUPTED_EVERYWHERE = """
import atexit, contextlib, os, sys
from pathlib import Path
from pack.shards.shard import ShardWriter
from tools.cli import files

os.fsync = lambda file: None  # it takes most of the time

def write(folder):
    files.write_file(folder / "a.json", b"new")
    with ShardWriter(folder / "a.tar") as writer:
        writer.add("key", {"json": b"{}"})
        writer.publish({}, {})

def interrupt(frame, event, _):
    global left
    left -= 1
    if left == 0 and frame.f_code is not files.remove_temporaries.__code__:
        raise KeyboardInterrupt
    return interrupt

modules = (files.__file__, sys.modules[ShardWriter.__module__].__file__)
step = status = 0
while status != 33:  # until the writes end before the line that would be interrupted
    step += 1
    folder = Path(sys.argv[1], str(step))
    if not os.fork():
        folder.mkdir()
        left = step
        sys.settrace(lambda frame, *rest: interrupt(frame, *rest) if frame.f_code.co_filename in modules else None)
        with contextlib.suppress(KeyboardInterrupt):
            write(folder)
        atexit._run_exitfuncs()  # as Python does at the end, where it also frees all modules, which takes long
        os._exit(33 if left > 0 else 0)
    status = os.waitstatus_to_exitcode(os.wait()[1])
"""


def test_wherever_a_write_is_interrupted_it_leaves_no_temporary_file(tmp_path):
    subprocess.run([sys.executable, "-c", INTERRUPTED_EVERYWHERE, tmp_path], cwd=ROOT, check=True)
    assert len(list(tmp_path.iterdir())) > 100 and len(list(tmp_path.glob("*/a.tar"))) > 1
    assert not list(tmp_path.glob("*/*.tmp"))


def test_two_processes_that_write_one_file_never_share_a_temporary_file(tmp_path):
    path = tmp_path / "a.json"
    writer = start_writer(path)
    with whole_file(path) as file:
        file.write(b"ours")
        assert len(list(tmp_path.glob("*.tmp"))) == 2
    assert path.read_bytes() == b"ours"
    writer.communicate()
    assert writer.returncode == 0 and path.read_bytes() == b"half"
    assert list(tmp_path.iterdir()) == [path]


def test_a_living_writer_keeps_its_temporary_file(tmp_path):
    path = tmp_path / "a.json"
    writer = start_writer(path)
    write_file(path, b"ours")
    writer.communicate()
    assert writer.returncode == 0 and path.read_bytes() == b"half"


def test_the_next_write_deletes_what_a_killed_writer_left(tmp_path):
    path = tmp_path / "a.json"
    writer = start_writer(path)
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    assert len(list(tmp_path.glob("*.tmp"))) == 1
    write_file(path, b"ours")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["a.json.tmp", "a.json.123.tmp", "b.json.123.0123abcd.tmp", "a.json.0123abcd.tmp"])
def test_temporary_files_of_others_are_never_deleted(tmp_path, name):
    other = tmp_path / name
    other.write_bytes(b"theirs")
    write_file(tmp_path / "a.json", b"ours")
    assert other.read_bytes() == b"theirs"


@pytest.mark.parametrize("kind", ["missing", "file"])
def test_the_lock_of_a_folder_needs_a_folder_and_makes_nothing(tmp_path, kind):
    folder = tmp_path / "folder"
    if kind == "file":
        folder.write_bytes(b"theirs")
    with pytest.raises((FileNotFoundError, NotADirectoryError)), locked_folder(folder):
        pass
    assert not folder.exists() or folder.read_bytes() == b"theirs"


def test_a_thread_that_would_wait_for_itself_ends_with_one_line(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    for _ in range(2):
        with (
            locked_folder(tmp_path, wait=False),
            pytest.raises(UserError, match=r"link: is the same as "),
            locked_folder(tmp_path / "link"),
        ):
            pass
    with locked_folder(tmp_path), locked_folder(tmp_path, wait=False) as held:
        assert not held
    with locked_folder(tmp_path) as held:
        assert held


def test_another_thread_waits_for_the_lock(tmp_path):
    order = []

    def wait():
        with locked_folder(tmp_path):
            order.append("second")

    with locked_folder(tmp_path):
        other = threading.Thread(target=wait)
        other.start()
        order.append("first")
    other.join()
    assert order == ["first", "second"]


def test_the_sha256_is_that_of_the_files_bytes(tmp_path):
    data = os.urandom(100_000)
    write_file(tmp_path / "a", data)
    assert file_sha256(tmp_path / "a") == hashlib.sha256(data).hexdigest()


def test_a_result_that_could_not_be_written_is_known_before_the_work(tmp_path):
    (tmp_path / "file").touch()
    check_result(tmp_path / "new" / "a.png")
    with pytest.raises(UserError, match="is a folder"):
        check_result(tmp_path)
    with pytest.raises(NotADirectoryError):
        check_result(tmp_path / "file" / "a.png")
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]
