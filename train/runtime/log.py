"""What a run says: TensorBoard, the loss CSV, pictures, and one line an epoch. Only the first process writes."""

import csv
import io
import threading
import time
from pathlib import Path

import torch
from PIL import Image

from tools.cli.files import write_file
from train.evaluation.metrics import as_uint8

RESULTS = ("loss", "masked_psnr", "masked_ssim", "masked_mae", "masked_tde")  # of evaluations, in the HParams tab
CHARTS = {  # in Custom Scalars: the network beside simple fills
    "PSNR in holes": "masked_psnr",
    "SSIM in holes": "masked_ssim",
    "absolute error in holes": "masked_mae",
    "temporal difference error in holes": "masked_tde",
}
CLOCKS = 10.0  # seconds that the clock of the machine before may have been ahead


class Curves:
    """TensorBoard points by optimizer step.

    `steps` and `epochs` are runs of their own below logs/RUN_ID, because a resumed run drops the points behind its
    checkpoint, and those of an epoch's end may have to be drawn again where those of its last step must stay.
    """

    def __init__(self, folder: Path, step: int, epoch_pending: bool):
        from torch.utils.tensorboard import SummaryWriter  # 1 s that --help need not wait

        threading.excepthook = leave_to_main
        wait_for_order(folder)
        self.steps = SummaryWriter(folder / "steps", purge_step=step + 1)
        self.epochs = SummaryWriter(folder / "epochs", purge_step=step if epoch_pending else step + 1)

    def flush(self) -> None:
        self.steps.flush()
        self.epochs.flush()

    def close(self, finished: bool = False) -> None:
        """Write everything out, and in the HParams tab that the run is at its end."""
        if finished:
            add_end(self.epochs)
        self.steps.close()
        self.epochs.close()


def leave_to_main(thrown: threading.ExceptHookArgs) -> None:
    """Say nothing of an OSError, as of a full disk, in TensorBoard's thread: the next flush raises it again."""
    if not isinstance(thrown.exc_value, OSError):
        threading.__excepthook__(thrown)


def wait_for_order(folder: Path) -> None:
    """Wait until an event file made now is read after those that are there: readers sort them by the second named."""
    last = max((int(path.name.split(".")[3]) for path in folder.glob("*/events.out.tfevents.*")), default=0)
    end = time.monotonic() + CLOCKS
    while int(time.time()) <= last and time.monotonic() < end:
        time.sleep(0.05)


def add_scalars(writer, values: dict[str, float], step: int) -> None:
    for tag, value in values.items():
        writer.add_scalar(tag, value, step)


def add_charts(writer) -> None:
    """Describe the charts of the Custom Scalars tab; once a run, as a second time would be a second point."""
    charts = {title: ["Multiline", [rf"eval(_raw)?/{metric}.*"]] for title, metric in CHARTS.items()}
    writer.add_custom_scalars({"evaluation": charts})


def add_hyperparameters(writer, values: dict, metric: str) -> None:
    """Fill in the HParams tab: these values beside the last points of RESULTS and of the metric that chooses the best.

    The session goes on until add_end.
    """
    from torch.utils.tensorboard.summary import hparams

    plain = {name: " ".join(map(str, v)) if isinstance(v, tuple) else v for name, v in values.items()}
    plain |= {name: str(v) for name, v in plain.items() if isinstance(v, bool)}  # which would be shown as 0.0000
    tags = [f"eval/{name}" for name in dict.fromkeys((*RESULTS, metric))]
    experiment, session, _ = hparams(plain, dict.fromkeys(["epoch/train_loss", *tags], 0.0))
    writer.file_writer.add_summary(experiment)
    writer.file_writer.add_summary(session)


def add_end(writer) -> None:
    """Say that the session of the HParams tab has ended well."""
    from torch.utils.tensorboard.summary import hparams

    writer.file_writer.add_summary(hparams({}, {})[2])


def write_loss_csv(path: Path, rows: list[list[float | None]]) -> None:
    """One line an epoch as iw3's, without a header: epoch, train loss, eval loss (empty before the first one)."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([["" if v is None else v for v in row] for row in rows])
    write_file(path, text.getvalue().encode())


def eval_picture(masked, output, target):  # float (T 3 H W) each -> uint8 (T*H 3*W 3)
    """A row a frame of [masked input | output | target]."""
    columns = [as_uint8(frames).flatten(0, 1) for frames in (masked, output, target)]  # (T*H W 3)
    return torch.cat(columns, dim=1)


def write_picture(path: Path, picture: torch.Tensor) -> None:  # uint8 (H W 3)
    data = io.BytesIO()
    Image.fromarray(picture.numpy()).save(data, "PNG")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, data.getvalue())
