"""Hard example mining: the last losses of every record decide how often it is drawn. N records, of some millions."""

from typing import Any

import numpy as np
import torch

from tools.cli import UserError

DEPTH = 4  # losses kept of a record


class History:
    """The last losses of each of N records, and the weights to draw them by.

    A record whose mean loss is one standard deviation above the others' weighs 1, as does one never seen; the easiest
    weigh 0.25. All processes of a job must enter the same losses in the same order.
    """

    def __init__(self, records: int):
        self._clear(records)

    def update(self, records: np.ndarray, losses: np.ndarray) -> None:  # (n) int, (n) float
        """Enter losses of records, the oldest first; a loss that is not finite is left out."""
        records, losses = np.asarray(records, np.int64), np.asarray(losses, np.float32)
        finite = np.isfinite(losses)
        records, losses = records[finite], losses[finite]
        order = np.argsort(records, kind="stable")
        records, losses = records[order], losses[order]
        # a record may come several times: `later` entries of it follow, and all but the last DEPTH are pushed out
        later = np.searchsorted(records, records, side="right") - np.arange(1, len(records) + 1)
        for age in reversed(range(DEPTH)):
            now = records[later == age]
            self.losses[:-1, now] = self.losses[1:, now]
            self.losses[-1, now] = losses[later == age]
            self.counts[now] = np.minimum(self.counts[now] + 1, DEPTH)

    def averages(self) -> np.ndarray:  # -> float32 (N)
        """The mean of the losses kept of each record, infinite for one never seen."""
        averages = np.full(len(self.counts), np.inf, np.float32)
        return np.divide(self.losses.sum(0), self.counts, out=averages, where=self.counts > 0)

    def weights(self) -> np.ndarray:  # -> float32 (N) in [0.25, 1]
        """How much to draw each record: 0.75 at the mean loss, 0.25 more or less a standard deviation of it.

        iw3's clamp(4 q + 1, 1, 4) / 4 with q = (clamp(z, -2, 2) + 2) / 4. All are 1 while fewer than 4 were seen.
        """
        averages = self.averages()
        seen = averages[self.counts > 0]
        if len(seen) < 4:
            return np.ones_like(averages)
        mean = float(seen.mean(dtype=np.float64))
        deviation = float(seen.std(dtype=np.float64, ddof=1)) + min(abs(mean * 1e-6), 1e-6)
        averages -= mean
        averages /= deviation
        return (averages.clip(-2, 1, out=averages) + 3) / 4

    def state_dict(self) -> dict[str, Any]:
        """The losses of the records seen, as tensors of their own."""
        seen = np.flatnonzero(self.counts)
        arrays = {"seen": seen, "losses": self.losses[:, seen], "counts": self.counts[seen]}
        return {"records": len(self.counts)} | {name: torch.from_numpy(array) for name, array in arrays.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what state_dict gave; UserError when it is of another number of records."""
        if state["records"] != len(self.counts):
            raise UserError(
                f"the checkpoint knows the losses of {state['records']} records, the dataset has {len(self.counts)}: "
                "go on with the dataset of the checkpoint or start a new run"
            )
        self._clear(state["records"])
        seen = state["seen"].numpy()
        self.losses[:, seen] = state["losses"].numpy()
        self.counts[seen] = state["counts"].numpy()

    def _clear(self, records):
        self.losses = np.zeros((DEPTH, records), np.float32)  # the newest last; 0 where none is kept yet
        self.counts = np.zeros(records, np.uint8)  # losses kept, at most DEPTH
