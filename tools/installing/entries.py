"""iw3's choice of a video network, as text: an entry of inpaint_models.yml, or an assignment in older versions.

Every function takes the text of a file and returns the new one; other entries and comments stay as they are.
"""

import ast
import json
import math
import re
import textwrap
from typing import Any

import yaml

from tools.cli import UserError, one_line
from tools.cli.yaml_text import parse_yaml

VARIABLE = "VIDEO_MODEL_URL"
LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")  # as Python counts them; splitlines knows more line ends
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
    at, added = _insertion(text, name, path)
    return _checked(text[:at] + added + text[at:], entries | {name: {"video": path}})


def without_entry(text: str, name: str, path: str, where: str) -> str:
    """The YAML without the entry of this name. Raises UserError where it has none, or one that is not ours."""
    entries = read_entries(text, where)
    if entries.get(name) != {"video": path}:
        raise UserError(f"{where} has no network named {name} that was installed from here: nothing was changed")
    added = _insertion(text, name, path)[1]
    return _checked(text.replace(added, "", 1), {n: entry for n, entry in entries.items() if n != name})


def _insertion(text, name, path):  # -> place in the text, and what makes the entry there
    root = yaml.compose(text, yaml.SafeLoader)  # which read_entries has read within bounds
    if isinstance(root, yaml.MappingNode) and root.flow_style:
        flow = f"{json.dumps(name)}: {json.dumps({'video': path}, ensure_ascii=False)}, "
        return root.start_mark.index + 1, flow
    is_block = isinstance(root, yaml.MappingNode)  # else there are comments alone
    at, indent = (root.end_mark.index, root.start_mark.column) if is_block else (len(text), 0)
    block = textwrap.indent(yaml.safe_dump({name: {"video": path}}, allow_unicode=True, width=math.inf), " " * indent)
    return at, block if not at or text[at - 1] in "\r\n" else f"\n{block}"


def _checked(text: str, entries: dict[str, Any]) -> str:
    """The text if it means these entries; otherwise, as for `null`, the entries written anew."""
    try:
        if (parse_yaml(text) or {}) == entries:
            return text
    except UserError:
        pass
    return yaml.safe_dump(entries, allow_unicode=True, sort_keys=False)


def has_variable(source: str, where: str) -> bool:
    """Whether this version of iw3 takes its network from VIDEO_MODEL_URL."""
    names = (node for node in ast.walk(_parsed(source, where)) if isinstance(node, ast.Name) and node.id == VARIABLE)
    return any(isinstance(name.ctx, ast.Store) for name in names)


def with_variable(source: str, path: str, where: str) -> str:
    """The source with VIDEO_MODEL_URL set to the path; what it was stands behind it. Raises UserError."""
    first, end = _place(source, where, path)
    lines = LINE.findall(source)
    before = "".join(lines[first:end])
    if MARK in before:
        before = json.loads(before.split(MARK, 1)[1])
    return "".join([*lines[:first], f"{VARIABLE} = {path!r}{MARK}{json.dumps(before)}\n", *lines[end:]])


def without_variable(source: str, path: str, where: str) -> str:
    """The source with VIDEO_MODEL_URL as it was before. Raises UserError where it was not set to this path."""
    first, end = _place(source, where, path)
    lines = LINE.findall(source)
    line = "".join(lines[first:end])
    if not line.startswith(f"{VARIABLE} = {path!r}{MARK}"):
        raise UserError(f"{where}: {VARIABLE} was not set to {path} by Backfill: nothing was changed")
    return "".join([*lines[:first], json.loads(line.split(MARK, 1)[1]), *lines[end:]])


def _place(source, where, path):  # -> first line of the assignment, from 0, and the line after it
    statements = _parsed(source, where).body
    for number in reversed(range(len(statements))):  # the last one counts
        match statements[number]:
            case ast.Assign(targets=[ast.Name(id=name)], lineno=first, end_lineno=end) if name == VARIABLE:
                beside = [
                    s for s in statements if s is not statements[number] and s.lineno <= end and s.end_lineno >= first
                ]
                if not beside:
                    return first - 1, end
    raise UserError(f"{where}: {VARIABLE} is not set in lines of its own: set it there to {path!r} by hand")


def _parsed(source, where):
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:  # of what is nested too deeply
        raise UserError(f"{where} is not valid Python ({one_line(error)}): install iw3 again") from error
