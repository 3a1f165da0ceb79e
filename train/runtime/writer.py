"""Writes files beside the work of the main thread, one after another."""

import threading
from collections.abc import Callable


class BackgroundWriter:
    """Runs one write at a time in a thread. Its methods are for the main thread."""

    def __init__(self) -> None:
        self.thread: threading.Thread | None = None
        self.error: BaseException | None = None  # of the last write

    @property
    def failed(self) -> bool:
        """Whether the last write ended with an error, which `finish` has not raised yet."""
        return self.error is not None

    def start(self, write: Callable[[], None]) -> None:
        """Begin a write, after the one before it has ended. Raises the error of that one."""
        self.finish()
        self.thread = threading.Thread(target=self._run, args=(write,), name="writer")
        self.thread.start()

    def finish(self) -> None:
        """Wait until the last write has ended, and raise its error."""
        self.close()
        error, self.error = self.error, None
        if error:
            raise error

    def close(self) -> None:
        """Wait until the last write has ended, where another error already ends the run."""
        if self.thread:
            self.thread.join()
            self.thread = None

    def _run(self, write: Callable[[], None]) -> None:
        try:
            write()
        except BaseException as error:  # of any kind: the main thread raises it
            self.error = error
