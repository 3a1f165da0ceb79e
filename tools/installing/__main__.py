"""Installs a network in iw3, or removes it again: `make install-iw3 IW3=path/to/nunif`."""

import os
import re
import shlex
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

if not __package__:  # run as a folder: import from the repository root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from tools import cli
from tools.cli import MissingFile, UserError
from tools.cli.files import check_writable, locked_folder, read_small, write_file

BACKUP = ".before-backfill"  # added to the name of a file that is changed
LARGEST_NETWORK = 4 << 30  # bytes
IW3_DEFAULT = "light_inpaint_v1"  # iw3 passes over an entry of this name


@dataclass(frozen=True)
class Config:
    """Install a network in iw3, so that it can be chosen there."""

    iw3: str = ""  # root folder of nunif, which holds iw3/ (required)
    name: str = "backfill"  # name of the network in iw3
    checkpoint: str = "base"  # weight file or training checkpoint, or base
    remove: bool = False  # remove the network of this name instead
    trial: bool = True  # fill a clip through iw3's own loader and compare it with ours
    python: str = ""  # Python of iw3 (default: that of venv/ or .venv/ in its folder, else the one that runs this)

    def __post_init__(self):
        if not self.iw3:
            raise UserError("--iw3 is missing: pass the folder of nunif, which holds iw3/")
        if not re.fullmatch(r"[A-Za-z][\w-]*", self.name) or self.name.lower() in ("yes", "no", "on", "off", "y", "n"):
            raise UserError(f'--name "{self.name}": expected a word of letters, digits, - and _, such as backfill')
        if self.name.lower() in ("true", "false", "null"):
            raise UserError(f'--name "{self.name}" has a meaning of its own in YAML: pass another one')
        if self.name == IW3_DEFAULT:
            raise UserError(
                f'--name "{self.name}" is the default network of iw3, which no entry replaces: pass another'
            )


@dataclass(frozen=True)
class Place:
    """Where an iw3 keeps its choice of network."""

    root: Path  # of the repository
    home: Path  # of its settings and networks
    network: Path  # the file of our network
    choice: Path  # file with the choice of network
    is_old: bool  # VIDEO_MODEL_URL instead of inpaint_models.yml


def main() -> None:
    config = cli.parse(Config)
    place = find_place(Path(config.iw3), config.name)
    there = next(parent for parent in place.choice.parents if parent.exists())
    with locked_folder(there):  # another installation would lose this entry
        lines = remove(place, config) if config.remove else install(place, config)
    print("\n".join(lines))


def find_place(root: Path, name: str) -> Place:
    """Where this iw3 keeps its networks. Raises UserError for a folder that is no iw3 or cannot be written to."""
    from tools.installing.entries import has_variable

    source = root / "iw3" / "inpaint_utils.py"
    if not source.is_file():
        raise UserError(f"{root} is not the folder of nunif: expected iw3/inpaint_utils.py in it")
    is_old = has_variable(read_text(source), str(source))
    home = root if is_old else Path(os.environ.get("NUNIF_HOME") or root).expanduser()  # as iw3 does
    choice = source if is_old else home / "iw3" / "inpaint_models.yml"
    network = (home / "iw3" / "pretrained_models" / f"{name}.pth").absolute()
    for folder in (choice.parent, choice.resolve().parent, network.parent):  # of a link its file is written
        existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
        if not os.access(existing, os.W_OK):
            raise UserError(f"{existing} is read-only: give write permission, nothing was changed")
        check_writable(existing)  # permissions are not all that forbids it
    return Place(root.absolute(), home, network, choice, is_old)


def install(place: Place, config: Config) -> list[str]:
    """Copy the network, enter it, and try it; what was done, in lines. Leaves nothing behind after an error."""
    from tools.installing.entries import with_entry, with_variable
    from tools.installing.trial import try_in_iw3

    before = read_text(place.choice) if place.choice.exists() else None
    path, where = str(place.network), str(place.choice)
    # before anything is written, as both raise UserError
    if place.is_old:
        after = with_variable(before or "", path, where)
    else:
        after = with_entry(before or "", config.name, path, where)
    earlier = read_small(place.network, LARGEST_NETWORK) if place.network.exists() else None
    with tempfile.TemporaryDirectory() as folder:
        export(config.checkpoint, Path(folder) / place.network.name)
        network = read_small(Path(folder) / place.network.name, LARGEST_NETWORK)
    if earlier not in (None, network) and path not in (before or ""):  # the same is of an installation that was killed
        raise UserError(f"{path} exists and is not in {where}: pass another NAME, or remove that file")
    try:
        place.network.parent.mkdir(parents=True, exist_ok=True)
        write_file(place.network, network)
        said = "not tried in iw3"
        if config.trial:
            name, entries = ("", "") if place.is_old else (config.name, after)
            said = try_in_iw3(place.root, place.network, config.python, name, entries)
        if before is not None and after != before:
            write_file(place.choice.with_name(place.choice.name + BACKUP), before.encode())
        if after != before:
            replace_text(place.choice, after)
    except BaseException:
        restore(place.network, earlier)
        raise
    method = "monobw_inpaint" if (place.root / "iw3/monobw_inpaint.py").exists() else "forward_inpaint"
    words = ["--method", method, *([] if place.is_old else ["--inpaint-model", config.name])]
    command = f"python -m iw3.cli -i film.mp4 -o . {shlex.join(words)}"
    return [
        f"{place.network}: {config.checkpoint}, {said}",
        f"{place.choice}: {'VIDEO_MODEL_URL is set' if place.is_old else f'has the entry {config.name}'}",
        f"to use it, in {place.root}: {command}",
    ]


def remove(place: Place, config: Config) -> list[str]:
    """Remove the entry and the file of a network that was installed; what was done, in lines."""
    from tools.installing.entries import without_entry, without_variable

    if not place.choice.exists():
        raise MissingFile(f"{place.choice} is missing: nothing is installed there")
    before, where = read_text(place.choice), str(place.choice)
    if place.is_old:
        after = without_variable(before, str(place.network), where)
    else:
        after = without_entry(before, config.name, str(place.network), where)
    if after or place.choice.with_name(place.choice.name + BACKUP).exists():
        replace_text(place.choice, after)
    else:  # installing made it, and iw3 need not know what an empty one means
        place.choice.unlink()
    place.network.unlink(missing_ok=True)
    return [f"{place.choice}: {config.name} is removed, and {place.network}"]


def read_text(path: Path) -> str:
    """The text of a file, with its line ends. Raises UserError where it is not UTF-8."""
    try:
        return read_small(path).decode()
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text ({error.reason}): fix it, nothing was changed") from error


def replace_text(path: Path, text: str) -> None:
    """Write the file, or the one that a symbolic link leads to, whole; its permissions stay."""
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = path.stat().st_mode if path.exists() else None
    write_file(path, text.encode())
    if mode is not None:
        path.chmod(mode)


def export(checkpoint: str, path: Path) -> None:
    """Write the network as `tools/export.py` does."""
    from model.checkpoint import load_network, read_file, write_checkpoint
    from tools.export import as_file, check_finite, choose_weights

    payload = read_file(checkpoint)
    net = load_network(checkpoint)
    net.load_state_dict(choose_weights(payload)[0])
    file = as_file(net, payload, half=False)
    check_finite(file["state_dict"], checkpoint)
    write_checkpoint(path, file)


def restore(path: Path, content: bytes | None) -> None:
    """Give the file its content of before, None where there was no file."""
    if content is None:
        path.unlink(missing_ok=True)
    else:
        write_file(path, content)


if __name__ == "__main__":
    cli.run(main)
