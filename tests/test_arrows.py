"""Who may import whom, and that no program loads what its --help does not need."""

import ast
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from tests.support.programs import PROGRAMS

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("pack", "train", "model", "tools")
HEAVY = ("torch", "torchvision", "av", "transformers", "numba", "tensorboard")
MODULES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py") if path.name != "__init__.py")
ALLOWED = {  # what a room and all below it may import, besides itself; the longest name that fits counts
    "tools.cli": set(),
    "model": {"tools.cli"},
    "pack.kernels": {"tools.cli"},
    "pack.shards": {"tools.cli", "pack.kernels.compiled"},
    "pack.holes": {"tools.cli", "model", "pack.kernels"},
    "pack.depth": {"tools.cli", "model", "pack.kernels"},
    "pack.video": {"tools.cli"},
    "pack.scenes": {"tools.cli", "pack.kernels.compiled"},
    "pack": {"tools.cli", "model"},
    "train": {"tools.cli", "model", "pack.shards", "pack.holes.kinds"},
    "tools": {"pack", "train", "model"},
}
BELOW = {"tools.cli", "model", "pack.shards", "train.config", "train.runtime"}
ALLOWED_IN_TRAIN = {  # the same for the rooms of train/, which know nothing of its modules but the configuration
    "train.config": {"tools.cli"},
    "train.runtime": {"tools.cli", "model", "train.config"},
    "train.optimizers": BELOW,
    "train.objectives": BELOW | {"train.optimizers"},
    "train.data": BELOW | {"pack.holes.kinds"},
    "train.checkpoints": BELOW | {"train.optimizers", "train.objectives", "train.data"},
    "train.evaluation": BELOW | {"train.optimizers", "train.objectives", "train.data", "train.checkpoints"},
}


def name_of(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def imports(path, everywhere=True):
    """The modules that a file imports by full name; `from pack.shards import shard` is pack.shards.shard."""
    tree = ast.parse(path.read_text())
    names = set()
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            modules = {f"{node.module}.{alias.name}" for alias in node.names}
            names.update(modules if node.module in ROOMS else {node.module})
    return names


def room_of(name):
    return name.partition(".")[0]


def inside(name, room):
    return name == room or name.startswith(f"{room}.")


def in_fresh_python(code):
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_imports_only_what_its_room_may(path):
    allowed = ALLOWED | ALLOWED_IN_TRAIN
    room = max((room for room in allowed if inside(name_of(path), room)), key=len)
    for name in imports(path):
        if room_of(name) in ROOMS:
            assert any(inside(name, other) for other in {room, *allowed[room]}), f"{name_of(path)} imports {name}"


def part_of(name):
    """The sub-package of a module, or the module itself where it stands directly in a folder of the design card."""
    top, _, rest = name.partition(".")
    part = rest.partition(".")[0]
    return f"{top}.{part}" if part else top


def cycle_in(arrows):
    """The names of a cycle of the graph, from a name to the same name; none when there is none."""
    finished = set()

    def visit(name, path):
        if name in path:
            return [*path[path.index(name) :], name]
        if name not in finished:
            for other in sorted(arrows.get(name, ())):
                if found := visit(other, [*path, name]):
                    return found
            finished.add(name)
        return []

    return next(filter(None, (visit(name, []) for name in sorted(arrows))), [])


def test_no_sub_packages_import_each_other_in_a_circle():
    arrows = {}
    for path in MODULES:
        part = part_of(name_of(path))
        others = {part_of(name) for name in imports(path) if room_of(name) in ROOMS}
        arrows.setdefault(part, set()).update(others - {part})
    assert cycle_in(arrows) == []


def test_a_circle_would_be_found():
    arrows = {"a": {"b"}, "b": {"c", "d"}, "c": set(), "d": {"a"}}
    assert cycle_in(arrows) == ["a", "b", "d", "a"]
    assert cycle_in(arrows | {"d": {"c"}}) == []


def test_a_network_needs_torch_and_numpy_alone():
    for path in MODULES:
        if room_of(name_of(path)) == "model":
            foreign = {room_of(name) for name in imports(path)} - sys.stdlib_module_names - {"model", "tools"}
            assert foreign <= {"torch", "numpy"}, name_of(path)


def test_reading_records_loads_neither_a_decoder_nor_torch():
    code = "import sys, pack.shards.record, pack.shards.shard, pack.shards.store; print(*sys.modules)"
    assert not set(HEAVY) & set(in_fresh_python(code).split())


@pytest.mark.parametrize("room", ["pack", "train"])
def test_a_command_line_needs_the_standard_library_alone(room):
    foreign = {room_of(name) for name in imports(ROOT / room / "config.py", everywhere=False)} - sys.stdlib_module_names
    assert foreign <= {"tools", room}


@pytest.mark.parametrize("path", PROGRAMS, ids=name_of)
def test_help_loads_nothing_heavy(path):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", path, "--help"], cwd=ROOT.parent, capture_output=True, text=True
    )
    assert done.returncode == 0 and "usage:" in done.stdout
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "argparse" in loaded and not loaded & set(HEAVY)


def test_every_program_of_the_project_is_among_those():
    assert {"pack.main", "train.main", "tools.verify", "tools.export"} <= {name_of(path) for path in PROGRAMS}


def test_no_module_hides_another():
    installed = {name for name in metadata.packages_distributions() if name.isidentifier()}
    taken = sys.stdlib_module_names | installed | set(ROOMS) | {"tests"}
    assert [name_of(path) for path in MODULES if path.stem in taken and path.stem != "main"] == []


def test_every_folder_of_modules_is_a_package_and_holds_no_more_than_a_dozen_or_so():
    for folder in {path.parent for path in (*MODULES, *(ROOT / "tests").rglob("*.py"))}:
        assert (folder / "__init__.py").exists()
        assert len([path for path in folder.glob("*.py") if path.name != "__init__.py"]) <= 15, folder
