"""What a sweep file asks for: the trainings, by name."""

import itertools
import math
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tools.cli import UserError
from tools.cli.flags.config_file import read_table, read_toml
from tools.cli.flags.fields import Flag, read_flags
from tools.evaluate import Config as Evaluation
from train.config import Config

KEYS = {"out": str, "processes": int, "flags": dict, "grid": dict, "runs": list, "evaluate": dict}
OWN = ("model_dir", "resume", "reset_state", "checkpoint", "out")  # flags that the sweep sets itself
MOST = 1000  # runs
EVALUATION = "evaluation"  # in the sweep's folder: the comparison of all runs, and its settings


@dataclass(frozen=True)
class Run:
    """One training of a sweep."""

    name: str
    config: Config


@dataclass(frozen=True)
class Sweep:
    """All trainings, and how their networks are measured."""

    out: Path  # folder of all runs
    processes: int  # of each training
    runs: tuple[Run, ...]
    evaluation: Evaluation

    def config_path(self, run: Run) -> Path:
        """The settings of a run, from which it is trained."""
        return self.out / f"{run.name}.toml"


def read_sweep(path: str) -> Sweep:
    """The sweep in a TOML file. Raises UserError where it cannot be run, before any work."""
    table = read_toml(path, "--sweep")
    for key, value in table.items():
        if key not in KEYS:
            raise UserError(f"{path}: unknown key {key}, expected some of {', '.join(KEYS)}")
        if type(value) is not KEYS[key]:
            raise UserError(f"{path}: {key} = {value!r:.60}: expected a {KEYS[key].__name__}")
    processes = table.get("processes", 1)
    if not 1 <= processes <= 1024:
        raise UserError(f"{path}: processes = {processes}: expected 1 to 1024")
    out = Path(table.get("out", f"sweeps/{Path(path).stem}"))
    runs = tuple(_runs(table, path, out))
    return Sweep(out, processes, runs, _evaluation(table.get("evaluate", {}), path, runs, out))


def _runs(table, path, out):
    flags = _free_flags(Config)
    shared = read_table(table.get("flags", {}), f"{path} [flags]", flags)
    chosen = [*_grid(table.get("grid", {}), path, flags), *_listed(table.get("runs", []), path, flags)]
    if not chosen or len(chosen) > MOST:
        raise UserError(f"{path}: {len(chosen)} runs, expected 1 to {MOST}: give a [grid] of lists, or [[runs]]")
    names = [name for name, _ in chosen]
    if EVALUATION in names:
        raise UserError(f"{path}: a run called {EVALUATION}, as the comparison of all runs is: give it another name")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"{path}: two runs are called {twice}: give them different names or values")
    if taken := next((f"{name}.toml" for name in (EVALUATION, *names) if f"{name}.toml" in names), None):
        raise UserError(f"{path}: a run called {taken}, as the settings of another one are: give it another name")
    for name, values in chosen:
        try:
            config = Config(**shared | values, model_dir=str(out / name))
        except UserError as error:  # a value is out of its range
            raise UserError(f"{path}: run {name}: {error}") from None
        if config.seed < 0:  # otherwise runs would differ in their random numbers too
            config = replace(config, seed=0)
        yield Run(name, config)


def _evaluation(table: dict[str, Any], path: str, runs: tuple[Run, ...], out: Path) -> Evaluation:
    """How all networks are measured: the [evaluate] table holds flags of tools/evaluate.py."""
    values = read_table(table, f"{path} [evaluate]", _free_flags(Evaluation))
    networks = tuple(str(out / run.name / f"{run.config.arch.removesuffix('_small')}.pth") for run in runs)
    try:
        return Evaluation(**values, checkpoint=networks, out=str(out / EVALUATION))
    except UserError as error:
        raise UserError(f"{path} [evaluate]: {error}") from None


def _free_flags(config_class: type) -> list[Flag]:
    return [flag for flag in read_flags(config_class) if flag.field not in OWN]


def _grid(grid: dict[str, Any], path: str, flags: list[Flag]) -> list[tuple[str, dict[str, Any]]]:
    """A run for each combination of values, named by them."""
    if not grid:
        return []
    for key, values in grid.items():
        if not isinstance(values, list) or not values:
            raise UserError(f"{path} [grid]: {key} = {values!r:.60}: expected a list of values")
    count = math.prod(len(values) for values in grid.values())
    if count > MOST:
        raise UserError(f"{path} [grid]: has {count} combinations, expected 1 to {MOST}: give fewer values")
    combinations = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    return [(_name(one), read_table(one, f"{path} [grid]", flags)) for one in combinations]


def _listed(runs: list[Any], path: str, flags: list[Flag]) -> list[tuple[str, dict[str, Any]]]:
    """The runs that the file lists one by one, each a table of flags with a name."""
    listed = []
    for number, table in enumerate(runs):
        if not isinstance(table, dict):
            raise UserError(f"{path}: runs[{number}] = {table!r:.60}: expected a table, [[runs]]")
        name = table.get("name", str(number))
        if not isinstance(name, str) or not re.fullmatch(r"[\w=,.+-]{1,200}", name) or not name.strip("."):
            raise UserError(f"{path}: a run called {name!r:.60}: expected letters, digits and -_=,.+ in its name")
        values = {key: value for key, value in table.items() if key != "name"}
        listed.append((name, read_table(values, f"{path} run {name}", flags)))
    return listed


def _name(values: dict[str, Any]) -> str:
    """A file name that says the values: "learning-rate=0.0003,loss=band_l1"."""
    parts = (f"{key.replace('_', '-')}={value}" for key, value in values.items())
    return ",".join(re.sub(r"[^\w=.+-]+", "-", part) for part in parts)[:200]


def different_settings(one: Config, other: Config) -> list[str]:
    """The settings in which two runs differ: "loss is band_l1, was hole_l1"."""
    new, old = asdict(one), asdict(other)
    return [f"{name} is {new[name]}, was {old[name]}" for name in new if new[name] != old[name]]
