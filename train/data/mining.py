"""Hard-example mining: records with higher recent losses are drawn more often. N records, up to some millions."""

from typing import Any

import numpy as np
import torch

from tools.cli import UserError

KEPT = 4  # last losses that are kept of each record


class History:
    """The last losses of each of N records, and the weights to draw them by.

    A record whose mean loss is one standard deviation above the average has weight 1, as has one never seen; the
    easiest have weight 0.25. All processes of a job must add the same losses in the same order.
    """

    def __init__(self, records: int):
        self._clear(records)

    def update(self, records: np.ndarray, losses: np.ndarray) -> None:  # (n) int, (n) float
        """Add losses of records, the oldest first; losses that are not finite are ignored."""
        records, losses = np.asarray(records, np.int64), np.asarray(losses, np.float32)
        finite = np.isfinite(losses)
        records, losses = records[finite], losses[finite]
        order = np.argsort(records, kind="stable")
        records, losses = records[order], losses[order]
        # a record may occur several times: `later` entries of it follow, and only its last KEPT entries are kept
        later = np.searchsorted(records, records, side="right") - np.arange(1, len(records) + 1)
        for age in reversed(range(KEPT)):
            now = records[later == age]
            self.losses[:-1, now] = self.losses[1:, now]
            self.losses[-1, now] = losses[later == age]
            self.counts[now] = np.minimum(self.counts[now] + 1, KEPT)

    def averages(self) -> np.ndarray:  # -> float32 (N)
        """The mean of the kept losses of each record, infinite for one never seen."""
        averages = np.full(len(self.counts), np.inf, np.float32)
        return np.divide(self.losses.sum(0), self.counts, out=averages, where=self.counts > 0)

    def weights(self) -> np.ndarray:  # -> float32 (N) in [0.25, 1]
        """The sampling weight of each record: 0.75 at the mean loss, plus or minus 0.25 per standard deviation.

        iw3's clamp(4 q + 1, 1, 4) / 4 with q = (clamp(z, -2, 2) + 2) / 4. All are 1 until 4 records were seen.
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
        """The losses of the records seen, as separate tensors."""
        seen = np.flatnonzero(self.counts)
        arrays = {"seen": seen, "losses": self.losses[:, seen], "counts": self.counts[seen]}
        return {"records": len(self.counts)} | {name: torch.from_numpy(array) for name, array in arrays.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state_dict. Raises UserError when it is of another number of records."""
        if state["records"] != len(self.counts):
            raise UserError(
                f"the checkpoint has the losses of {state['records']} records, the dataset has {len(self.counts)}: "
                "continue with the dataset of the checkpoint or start a new run"
            )
        self._clear(state["records"])
        seen = state["seen"].numpy()
        self.losses[:, seen] = state["losses"].numpy()
        self.counts[seen] = state["counts"].numpy()

    def _clear(self, records):
        self.losses = np.zeros((KEPT, records), np.float32)  # the newest last; 0 where there is none yet
        self.counts = np.zeros(records, np.uint8)  # losses kept, at most KEPT
