"""The working folder of a film: where each stage leaves its results, and what they were made with."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.cli import UserError
from tools.cli.files import write_file

VERSION = 2  # of the files of this folder


@dataclass(frozen=True)
class Work:
    """Paths below the working folder."""

    folder: Path

    @property
    def depth(self) -> Path:
        """Depth of every frame, as iw3 exports it."""
        return self.folder / "depth"

    @property
    def held(self) -> Path:
        """The same with some shots at a share of their strength; missing where there are none."""
        return self.folder / "held"

    @property
    def confidence(self) -> Path:
        """The calibration of expected errors."""
        return self.folder / "confidence.json"

    @property
    def splits(self) -> list[Path]:
        """The folders that hold records."""
        return [folder for folder in sorted(self.data.glob("*")) if any(folder.glob("*.json"))]

    @property
    def data(self) -> Path:
        """Records: train/, and eval/ of held-out shots."""
        return self.folder / "data"

    @property
    def choosers(self) -> Path:
        """The keys of held-out records that choose the network and are no part of the certificate, one a line."""
        return self.folder / "choosers.txt"

    @property
    def judges(self) -> Path:
        """The keys of held-out records of the certificate, of which the training sees nothing, one a line."""
        return self.folder / "judges.txt"

    @property
    def model(self) -> Path:
        return self.folder / "model"

    def read(self, name: str) -> dict[str, Any]:
        """A JSON file of this folder, empty where it is missing. Raises UserError where it is damaged."""
        path = self.folder / f"{name}.json"
        if not path.exists():
            return {}
        try:
            found = json.loads(path.read_text())
        except ValueError as error:
            raise UserError(f"{path} is damaged: delete it, its stage is then repeated") from error
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
            raise UserError(f"{self.folder} was begun with other settings ({'; '.join(lines)}): pass another OUT")
        self.write("settings", settings)
