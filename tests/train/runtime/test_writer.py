import threading

import pytest

from train.runtime.writer import BackgroundWriter


def fail():
    raise OSError(28, "No space left on device", "x.pth")


def test_writes_never_overlap_and_keep_their_order():
    writer, going, seen = BackgroundWriter(), [], []

    def write(number):
        going.append(number)
        assert len(going) == 1
        seen.append(number)
        going.remove(number)

    for number in range(20):
        writer.start(lambda number=number: write(number))
    writer.finish()
    assert seen == [*range(20)]


def test_the_caller_goes_on_while_a_write_is_under_way_and_the_next_one_waits_for_it():
    writer, release, seen = BackgroundWriter(), threading.Event(), []
    writer.start(lambda: release.wait(480) and seen.append("written"))
    assert not seen and not writer.failed
    threading.Timer(0.1, release.set).start()
    writer.start(lambda: seen.append("next"))
    writer.finish()
    assert seen == ["written", "next"]


@pytest.mark.parametrize("later", [lambda writer: writer.finish(), lambda writer: writer.start(lambda: None)])
def test_an_error_is_raised_once_where_the_main_thread_meets_it_next(later):
    writer = BackgroundWriter()
    writer.start(fail)
    writer.close()
    assert writer.failed
    with pytest.raises(OSError, match="No space left"):
        later(writer)
    assert not writer.failed
    writer.finish()


def test_closing_hides_no_other_error():
    writer = BackgroundWriter()
    writer.close()
    writer.start(fail)
    writer.close()
    assert writer.thread is None
