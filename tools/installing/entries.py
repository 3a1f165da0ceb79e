"""iw3's choice of a video network, as text: an entry of inpaint_models.yml, or an assignment in older versions.

Every function takes the text of a file and returns the new one; other entries and comments stay as they are.
"""

import ast
import json
from typing import Any

import yaml

from tools.cli import UserError, one_line
from tools.cli.yaml_text import parse_yaml

VARIABLE = "VIDEO_MODEL_URL"
MARK = "  # set by Backfill, before: "


def read_entries(text: str, where: str) -> dict[str, Any]:
    """The mapping of a YAML file by name. Raises UserError where it is something else."""
    try:
        found = parse_yaml(text)
    except UserError as error:
        raise UserError(f"{where} {error}: fix it, nothing was changed") from error
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise UserError(f"{where} holds a {type(found).__name__}, expected names of networks: fix it")
    return found


def with_entry(text: str, name: str, path: str, where: str) -> str:
    """The YAML with the entry of this name; one that names another file is refused. Raises UserError."""
    entries = read_entries(text, where)
    if name in entries:
        if entries[name] == {"video": path}:
            return text
        raise UserError(f"{where} has another network named {name}: pass another NAME")
    block = yaml.safe_dump({name: {"video": path}}, allow_unicode=True)
    start = text if text.endswith("\n") or not text else text + "\n"
    return _checked(start + block, entries | {name: {"video": path}})


def without_entry(text: str, name: str, path: str, where: str) -> str:
    """The YAML without the entry of this name. Raises UserError where it has none, or one that is not ours."""
    entries = read_entries(text, where)
    if entries.get(name) != {"video": path}:
        raise UserError(f"{where} has no network named {name} that was installed from here: nothing was changed")
    block = yaml.safe_dump({name: {"video": path}}, allow_unicode=True)
    return _checked(text.replace(block, "", 1), {n: entry for n, entry in entries.items() if n != name})


def _checked(text: str, entries: dict[str, Any]) -> str:
    """The text if it means these entries; otherwise, as for flow style, the entries written anew."""
    try:
        if (parse_yaml(text) or {}) == entries:
            return text
    except UserError:
        pass
    return yaml.safe_dump(entries, allow_unicode=True, sort_keys=False)


def has_variable(source: str, where: str) -> bool:
    """Whether this version of iw3 takes its network from VIDEO_MODEL_URL."""
    return _assignment(source, where) is not None


def with_variable(source: str, path: str, where: str) -> str:
    """The source with VIDEO_MODEL_URL set to the path; what it was stands behind it."""
    first, end = _place(source, where)
    lines = source.splitlines(keepends=True)
    before = "".join(lines[first:end])
    if MARK in before:
        before = json.loads(before.split(MARK, 1)[1])
    return "".join([*lines[:first], f"{VARIABLE} = {path!r}{MARK}{json.dumps(before)}\n", *lines[end:]])


def without_variable(source: str, path: str, where: str) -> str:
    """The source with VIDEO_MODEL_URL as it was before. Raises UserError where it was not set to this path."""
    first, end = _place(source, where)
    lines = source.splitlines(keepends=True)
    line = "".join(lines[first:end])
    if not line.startswith(f"{VARIABLE} = {path!r}{MARK}"):
        raise UserError(f"{where}: {VARIABLE} was not set to {path} by Backfill: nothing was changed")
    return "".join([*lines[:first], json.loads(line.split(MARK, 1)[1]), *lines[end:]])


def _place(source, where):  # -> first line of the assignment, from 0, and the line after it
    statement = _assignment(source, where)
    assert statement is not None
    return statement.lineno - 1, statement.end_lineno


def _assignment(source, where):
    try:
        statements = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:  # of what is nested too deeply
        raise UserError(f"{where} is not valid Python ({one_line(error)}): install iw3 again") from error
    for statement in statements:
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        if any(isinstance(target, ast.Name) and target.id == VARIABLE for target in targets):
            return statement
    return None
