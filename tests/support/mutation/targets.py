"""The modules that mutation testing changes, and the tests that should know each of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

EQUIVALENT = Path(__file__).parent / "equivalent.toml"  # module: {mutant: why no test can tell it from the original}


@dataclass(frozen=True)
class Target:
    """The tests that should know a module, and a pytest expression that selects some of them."""

    tests: str  # files, separated by spaces
    select: str = ""
    kernels: Literal["", "ready", "Python"] = ""  # of numba: compiled before the forks, or run as Python, which can be
    # changed one function at a time


HOLES = "tests/pack/holes"
QUICK = (  # without what repeats the same on other numbers, on larger images or for the reference alone
    "not implementation_gives and not number_of_threads and not dilated_in_each and not same_mask[1 "
    "and not same_mask[2 and (not span_of_a_row or row[56] or row[40])"
)
SMALL = f"{QUICK} and not golden and not noncontiguous and not dilated and not batch and not filled_view"  # in Python
TARGETS = {
    "train/evaluation/metrics.py": Target("tests/train/evaluation/test_metrics.py"),
    "train/data/crop.py": Target("tests/train/data/test_crop.py"),
    "train/data/plan.py": Target("tests/train/data/test_plan.py"),
    "pack/shards/shard.py": Target("tests/pack/shards/test_shard.py"),
    "train/checkpoints/state.py": Target("tests/train/checkpoints/test_state.py"),
    "pack/holes/kinds.py": Target(f"{HOLES}/test_kinds.py"),
    "pack/holes/mappers.py": Target(f"{HOLES}/test_mappers.py"),
    "pack/holes/forward.py": Target(f"{HOLES}/test_forward.py", QUICK, kernels="ready"),
    "pack/holes/forward_rows.py": Target(f"{HOLES}/test_forward.py", SMALL, kernels="Python"),
    "pack/holes/monobw.py": Target(f"{HOLES}/test_monobw.py", QUICK, kernels="ready"),
    "pack/holes/monobw_rows.py": Target(f"{HOLES}/test_monobw.py", SMALL, kernels="Python"),
    "train/objectives/loss.py": Target("tests/train/objectives/test_loss.py"),
    "train/optimizers/ema.py": Target("tests/train/optimizers/test_ema.py"),
}
