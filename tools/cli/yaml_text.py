"""YAML that others may have written: plain values alone, and one kind of error. Needs PyYAML."""

from typing import Any

import yaml

from tools.cli.errors import UserError, is_shortage, one_line

MOST_NODES = 20_000  # values and keys
DEEPEST = 32  # lists and mappings within each other


class _Loader(yaml.SafeLoader):
    """SafeLoader with bounds. An alias counts as all that it stands for, or a short text would become endless."""

    def __init__(self, text: str):
        super().__init__(text)
        self.nodes = self.level = 0
        self.sizes: dict[int, int] = {}  # nodes in each node that is complete, by its id

    def compose_node(self, parent: Any, index: Any) -> Any:
        is_alias, before = self.check_event(yaml.AliasEvent), self.nodes
        self.nodes, self.level = self.nodes + 1, self.level + 1
        self.check_bounds()
        node = super().compose_node(parent, index)
        if is_alias:
            if id(node) not in self.sizes:
                raise yaml.YAMLError("a value contains itself")
            self.nodes = before + self.sizes[id(node)]
            self.check_bounds()
        self.level -= 1
        self.sizes[id(node)] = self.nodes - before
        return node

    def check_bounds(self) -> None:
        if self.nodes > MOST_NODES or self.level > DEEPEST:
            raise yaml.YAMLError(f"expected at most {MOST_NODES} values and {DEEPEST} levels")


def parse_yaml(text: str) -> Any:
    """The value in a YAML text. Raises UserError where it is none."""
    try:
        return yaml.load(text, _Loader)
    except Exception as error:  # PyYAML passes on what int, float, datetime and base64 raise for a wrong value
        if is_shortage(error):
            raise
        raise UserError(f"is not valid YAML ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    """What is wrong, and where: PyYAML's own text has a drawing of several lines in it."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        return f"line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}: {error.problem}"
    return one_line(error).replace(' in "<unicode string>"', "") or type(error).__name__
