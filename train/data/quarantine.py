"""Bad records: listed in quarantine.jsonl, until there are too many."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from pack.shards.untrusted import parse_object
from tools.cli import UserError
from tools.cli.files import read_small, write_file
from train.data.samples import BadRecord
from train.runtime.dist import Group

MAX_SHARE, MAX_COUNT = 0.001, 3  # of all records, or in a small dataset, may be bad


class Quarantine:
    """The bad records of a dataset of `count` records, by key, and their list in `folder`.

    `writes` is False in a dry run. Raises UserError when the folder's list is not one of ours.
    """

    def __init__(self, folder: Path, count: int, group: Group, writes: bool = True):
        self.path, self.count, self.group, self.writes = folder / "quarantine.jsonl", count, group, writes
        self.records: dict[str, BadRecord] = group.first(read_quarantine, self.path)

    def add(self, found: Iterable[BadRecord]) -> None:
        """List and report records that are not yet listed. Raises UserError when there are too many.

        Every process must pass the same records.
        """
        new = {record.key: record for record in found if record.key not in self.records}
        if not new:
            return
        self.records |= new
        if self.writes:
            self.group.first(write_quarantine, self.path, self.records.values())
        for record in new.values():
            self.group.log(f"bad record {record.key} in {record.shard} is not used: {record.reason}")
        if len(self.records) > max(MAX_COUNT, MAX_SHARE * self.count):
            raise UserError(
                f"{len(self.records)} of {self.count} records are bad (see {self.path}): "
                f"copy or pack their shards again, remove that file and continue with --resume"
            )


def write_quarantine(path: Path, records: Iterable[BadRecord]) -> None:
    """Write the list, one JSON object per line."""
    lines = "".join(json.dumps(asdict(record)) + "\n" for record in records)
    write_file(path, lines.encode())


def read_quarantine(path: Path) -> dict[str, BadRecord]:
    """The listed records by key. Raises UserError when the file is not one of ours."""
    try:
        lines = [BadRecord(**parse_object(line)) for line in read_small(path).splitlines()]
        if not all(isinstance(value, str) for record in lines for value in vars(record).values()):
            raise ValueError("expected texts")
    except FileNotFoundError:
        return {}
    except (TypeError, ValueError) as error:
        raise UserError(f"{path} is not a list of bad records ({error}): remove it") from error
    return {record.key: record for record in lines}
