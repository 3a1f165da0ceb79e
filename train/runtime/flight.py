"""torch's flight recorder: the last collective operations of a process, written to a file when a job hangs.

`torchfrtrace FOLDER -p rank_` compares the files of all processes. torch itself writes files for NCCL alone, after its
own timeout, which is longer than ours.
"""

import os
import threading
from pathlib import Path

import torch

from tools.cli.files import write_file

OPERATIONS = 2000  # that are kept of each process
PATIENCE = 30.0  # seconds for the file, as the process must end even when its driver hangs


class FlightRecorder:
    """The recorder of the process of this rank, whose file is in `folder`."""

    def __init__(self, folder: Path, rank: int, backend: str):
        self.folder = folder / "flight_recorder"
        self.path = self.folder / f"rank_{rank}"
        name = "_dump_nccl_trace" if "nccl" in backend else "_dump_fr_trace"  # private: nothing public gives the bytes
        self.read = getattr(torch._C._distributed_c10d, name, None)

    def start(self) -> None:
        """Record from the next process group on. Variables that the user has set are kept."""
        os.environ.setdefault("TORCH_FR_BUFFER_SIZE", str(OPERATIONS))
        os.environ.setdefault("TORCH_NCCL_DUMP_ON_TIMEOUT", "1")
        os.environ.setdefault("TORCH_FR_DUMP_TEMP_FILE", str(self.folder / "rank_"))  # torch's own files, too

    def write(self) -> None:
        """Write the file; without one where torch or the disk does not allow it."""
        writing = threading.Thread(target=self._write, daemon=True)
        writing.start()
        writing.join(PATIENCE)

    def _write(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if self.read:
                write_file(self.path, self.read())
        except (OSError, RuntimeError):  # a full disk, a recorder that is off: the line that follows says the rest
            pass
