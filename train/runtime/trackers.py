"""Experiment trackers beside TensorBoard, `--track wandb` and `--track mlflow`: the same points, images and settings.

A tracker that cannot be reached never ends or delays a run for long: wandb then keeps everything in files, mlflow
keeps the last points in memory and tries again, less and less often.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tools.cli import UserError, one_line

PROJECT = "backfill"  # wandb's project and mlflow's experiment, unless the environment names another
EVERY = 5.0  # seconds between requests to mlflow
LONGEST_PAUSE = 600.0  # seconds between attempts while its server is away
MOST_POINTS, MOST_IMAGES = 100_000, 100  # kept for it until it is back
LARGEST_BATCH = {"metrics": 1000, "params": 100}  # of a request, by mlflow's rules

Values = dict[str, float | np.ndarray]  # numbers, and images as uint8 (H W 3), by name


class Tracker(Protocol):
    """What a run tells its tracker."""

    def log(self, values: Values, step: int) -> None:
        """Add the values at an optimizer step. After a resume the points since the checkpoint come a second time."""

    def close(self, finished: bool) -> None:
        """Send what is left; a run that is not `finished` will be resumed."""


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker is told about a run when it begins or resumes."""

    key: str  # identifies the run within the project: a resumed run continues its curves
    name: str  # for people
    folder: Path  # which wandb writes to
    settings: dict[str, Any]


def open_tracker(kind: str, run: TrackedRun) -> Tracker | None:
    """The tracker of this name; None for "none". Raises UserError when its package is not installed."""
    if kind == "none":
        return None
    try:
        return WandbTracker(run) if kind == "wandb" else MlflowTracker(run)
    except ModuleNotFoundError as error:
        if error.name != kind:
            raise
        raise UserError(f"--track {kind} needs the package {kind}: run make setup EXTRAS={kind}") from error


class WandbTracker:
    """Weights & Biases, which sends in the background. WANDB_MODE=offline writes files alone."""

    def __init__(self, run: TrackedRun):
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb  # a package that only some users install

        self.image = wandb.Image
        try:
            self.run = self._begin(wandb, run)
        except wandb.Error as error:
            print(
                f"warning: wandb is unavailable ({one_line(error)}): this run is kept in {run.folder / 'wandb'}, "
                f"send it with `wandb sync` later",
                flush=True,
            )
            wandb.teardown()  # or the service still holds the run
            self.run = self._begin(wandb, run, mode="offline")
        self.run.define_metric("*", step_metric="step")

    @staticmethod
    def _begin(wandb: Any, run: TrackedRun, **mode: str) -> Any:
        quiet = {"console": "off", "silent": True, "save_code": False, "disable_git": True}
        return wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=run.key,
            name=run.name,
            dir=run.folder,
            config=run.settings,
            resume="allow",
            settings=wandb.Settings(**quiet, init_timeout=30, finish_timeout=20),
            **mode,
        )

    def log(self, values: Values, step: int) -> None:
        wrapped = {name: self.image(v) if isinstance(v, np.ndarray) else v for name, v in values.items()}
        self.run.log(wrapped | {"step": step})

    def close(self, finished: bool) -> None:
        self.run.finish()


class MlflowTracker:
    """MLflow at MLFLOW_TRACKING_URI, a server or a folder; by default the folder mlruns/ of the current one."""

    def __init__(self, run: TrackedRun):
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # a folder, which needs no server
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")  # seconds that a step waits for a server at most
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient, MlflowException  # a package that only some users install

        self.client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or (Path.cwd() / "mlruns").as_uri())
        self.errors = (MlflowException, OSError)
        self.run = run
        self.id = ""  # of the run in mlflow, once it was reached
        self.points: list[Any] = []  # that were not sent yet
        self.images: list[tuple[str, np.ndarray, int]] = []
        self.next, self.pause = 0.0, EVERY
        self._send()

    def log(self, values: Values, step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        for name, value in values.items():
            if isinstance(value, np.ndarray):
                self.images.append((name, value, step))
            else:
                self.points.append(Metric(name, value, now, step))
        del self.points[:-MOST_POINTS], self.images[:-MOST_IMAGES]
        if time.monotonic() >= self.next:
            self._send()

    def close(self, finished: bool) -> None:
        self._send(lambda: self.client.set_terminated(self.id, "FINISHED" if finished else "KILLED"))

    def _send(self, then: Any = lambda: None) -> None:
        """Send what waits; when that fails, warn once and wait longer before the next attempt."""
        try:
            self.id = self.id or self._begin()
            while self.points:
                self.client.log_batch(self.id, metrics=self.points[: LARGEST_BATCH["metrics"]])
                del self.points[: LARGEST_BATCH["metrics"]]
            while self.images:
                name, image, step = self.images[0]
                self.client.log_image(self.id, image, key=name, step=step)
                del self.images[0]
            then()
            self.pause = EVERY
        except self.errors as error:
            if self.pause == EVERY:
                print(f"warning: mlflow is unavailable ({one_line(error)}): the run goes on without it", flush=True)
            self.pause = min(4 * self.pause, LONGEST_PAUSE)
        self.next = time.monotonic() + self.pause

    def _begin(self) -> str:
        """The run in mlflow: that of an earlier start, or a new one with the settings."""
        from mlflow.entities import Param

        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        experiment = self.client.get_experiment_by_name(name)
        number = experiment.experiment_id if experiment else self.client.create_experiment(name)
        found = self.client.search_runs([number], f"tags.backfill_run = '{self.run.key}'")
        if found:
            self.client.update_run(found[0].info.run_id, status="RUNNING")
            return found[0].info.run_id
        run = self.client.create_run(number, tags={"backfill_run": self.run.key}, run_name=self.run.name)
        params = [Param(name, str(value)) for name, value in self.run.settings.items()]
        for first in range(0, len(params), LARGEST_BATCH["params"]):
            self.client.log_batch(run.info.run_id, params=params[first : first + LARGEST_BATCH["params"]])
        return run.info.run_id
