"""The working folder of a film: where each stage leaves its results, and what they were made with."""

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from tools.cli import UserError
from tools.cli.files import read_small, write_file
from tools.cli.locks import hold

VERSION = 2  # of the files of this folder
LOCK = "film.lock"


class Work:
    """Paths below the working folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.depth = folder / "depth"  # of every frame, as iw3 exports it
        self.held = folder / "held"  # the same with some shots at less strength; missing where there are none
        self.data = folder / "data"  # records: train/, and eval/ of held-out shots
        self.validation = folder / "validation.txt"  # keys of held-out records that choose the network, one a line
        self.test = folder / "test.txt"  # and of those of the certificate, of which the training sees nothing
        self.model = folder / "model"  # the tuned network and its checkpoints
        self.confidence = folder / "confidence.json"  # the calibration of expected errors

    @property
    def splits(self) -> list[Path]:
        """The folders that hold records."""
        return [folder for folder in sorted(self.data.glob("*")) if any(folder.glob("*.json"))]

    def locked(self) -> AbstractContextManager[None]:
        """Inside the block no other `make film` uses the folder. Raises UserError where one does."""
        return hold(self.folder / LOCK, self._in_use)

    def _in_use(self, owner: str) -> str:
        return f"{self.folder} is in use by another make film ({owner}): wait for its end, or pass another OUT (-o)"

    def read(self, name: str) -> dict[str, Any]:
        """A JSON file of this folder, empty where it is missing. Raises UserError where it is damaged."""
        path = self.folder / f"{name}.json"
        if not path.exists():
            return {}
        try:
            found = json.loads(read_small(path))
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise UserError(f"{path} is damaged: delete it, its stage is then repeated")
        return found

    def write(self, name: str, values: Mapping[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_file(self.folder / f"{name}.json", (json.dumps(values, indent=1) + "\n").encode())

    def check_settings(self, settings: Mapping[str, Any]) -> None:
        """Raise UserError where the folder was begun with other settings; else note them."""
        settings = json.loads(json.dumps({"version": VERSION, **settings}))
        found = self.read("settings")
        lines = [
            f"{name} is {json.dumps(settings.get(name))}, was {json.dumps(found.get(name))}"
            for name in sorted(found.keys() | settings.keys())
            if found and settings.get(name) != found.get(name)
        ]
        if lines:
            raise UserError(f"{self.folder} was begun with other settings ({'; '.join(lines)}): pass another OUT (-o)")
        self.write("settings", settings)
