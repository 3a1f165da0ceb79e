"""TensorBoard, the tracker beside it, and the loss CSV. Only the first process writes them."""

import csv
import io
import re
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.cli.files import write_file
from train.runtime.trackers import Tracker

if TYPE_CHECKING:
    from torch import Tensor
    from torch.utils.tensorboard import SummaryWriter

RESULTS = ("loss", "masked_psnr", "masked_ssim", "masked_mae", "masked_tde")  # evaluation metrics in the HParams tab
CHARTS = {  # charts of the Custom Scalars tab: the network beside simple fills
    "PSNR in holes": "masked_psnr",
    "SSIM in holes": "masked_ssim",
    "absolute error in holes": "masked_mae",
    "temporal difference error in holes": "masked_tde",
}
EVENTS = re.compile(r"events\.out\.tfevents\.(\d{1,18})\.")
CLOCK_SKEW = 10.0  # seconds by which the clock of the machine that ran before may have been ahead


@dataclass(frozen=True)
class Writer:
    """A TensorBoard run, and the tracker that gets the same points, if there is one."""

    board: "SummaryWriter"
    tracker: Tracker | None


class Curves:
    """TensorBoard points by optimizer step.

    `steps` and `epochs` are separate TensorBoard runs below logs/RUN_ID, because a resumed run drops the points after
    its checkpoint, and the points of an epoch's end may have to be written again while those of its last step stay.
    """

    def __init__(self, folder: Path, step: int, epoch_pending: bool, tracker: Tracker | None = None):
        from torch.utils.tensorboard import SummaryWriter  # takes a second to import, which --help need not wait for

        threading.excepthook = leave_to_main
        wait_for_order(folder)
        epoch_step = step if epoch_pending else step + 1
        self.tracker = tracker
        self.steps = Writer(SummaryWriter(folder / "steps", purge_step=step + 1), tracker)
        self.epochs = Writer(SummaryWriter(folder / "epochs", purge_step=epoch_step), tracker)

    def flush(self) -> None:
        self.steps.board.flush()
        self.epochs.board.flush()

    def close(self, finished: bool = False) -> None:
        """Flush everything and, for a finished run, mark it as finished in the HParams tab."""
        if finished:
            add_end(self.epochs)
        self.steps.board.close()
        self.epochs.board.close()
        if self.tracker:
            self.tracker.close(finished)


def leave_to_main(thrown: threading.ExceptHookArgs) -> None:
    """Ignore an OSError, such as a full disk, in TensorBoard's thread: the next flush raises it again."""
    if not isinstance(thrown.exc_value, OSError):
        threading.__excepthook__(thrown)


def wait_for_order(folder: Path) -> None:
    """Wait until a new event file sorts after the existing ones: readers sort them by the second in their names."""
    names = [path.name for path in folder.glob("*/events.out.tfevents.*")]
    last = max((int(found[1]) for name in names if (found := EVENTS.match(name))), default=0)
    end = time.monotonic() + CLOCK_SKEW
    while int(time.time()) <= last and time.monotonic() < end:
        time.sleep(0.05)


def add_scalars(writer: Writer, values: dict[str, float], step: int) -> None:
    for tag, value in values.items():
        writer.board.add_scalar(tag, value, step)
    if writer.tracker:
        writer.tracker.log({**values}, step)


def add_image(writer: Writer, tag: str, picture: "Tensor", step: int) -> None:  # uint8 (H W 3)
    writer.board.add_image(tag, picture, step, dataformats="HWC")
    if writer.tracker:
        writer.tracker.log({tag: picture.numpy()}, step)


def add_charts(writer: Writer) -> None:
    """Describe the charts of the Custom Scalars tab; call it once per run, a second call adds a second point."""
    charts = {title: ["Multiline", [rf"eval(_raw)?/{metric}.*"]] for title, metric in CHARTS.items()}
    writer.board.add_custom_scalars({"evaluation": charts})


def add_hyperparameters(writer: Writer, values: dict[str, Any], metric: str) -> None:
    """Fill in the HParams tab: these values beside the last points of RESULTS and of the metric that selects the best.

    The session stays open until add_end.
    """
    from torch.utils.tensorboard.summary import hparams  # slow, see Curves

    plain = {name: " ".join(map(str, v)) if isinstance(v, tuple) else v for name, v in values.items()}
    plain |= {name: str(v) for name, v in plain.items() if isinstance(v, bool)}  # which would be shown as 0.0000
    tags = [f"eval/{name}" for name in dict.fromkeys((*RESULTS, metric))]
    experiment, session, _ = hparams(plain, dict.fromkeys(["epoch/train_loss", *tags], 0.0))
    events: Any = writer.board.file_writer  # which torch declares as None
    events.add_summary(experiment)
    events.add_summary(session)


def add_end(writer: Writer) -> None:
    """Mark the session of the HParams tab as finished."""
    from torch.utils.tensorboard.summary import hparams  # slow, see Curves

    events: Any = writer.board.file_writer  # see add_hyperparameters
    events.add_summary(hparams({}, {})[2])


def write_loss_csv(path: Path, rows: list[list[float | None]]) -> None:
    """One line per epoch as iw3 writes it, without a header: epoch, train loss, eval loss (empty before the first)."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([["" if v is None else v for v in row] for row in rows])
    write_file(path, text.getvalue().encode())
