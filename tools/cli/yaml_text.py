"""YAML that others may have written: plain values alone, and one kind of error. Needs PyYAML."""

from typing import Any

import yaml

from tools.cli.errors import UserError, is_shortage, one_line

MOST_NODES = 20_000  # values and keys
DEEPEST = 32  # lists and mappings within each other


class _Loader(yaml.SafeLoader):
    """SafeLoader without aliases, by which a short text becomes endless, and with bounds."""

    def __init__(self, text: str):
        super().__init__(text)
        self.nodes = self.level = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.nodes, self.level = self.nodes + 1, self.level + 1
        if self.check_event(yaml.AliasEvent) or self.nodes > MOST_NODES or self.level > DEEPEST:
            raise yaml.YAMLError(f"expected no alias, at most {MOST_NODES} values and {DEEPEST} levels")
        node = super().compose_node(parent, index)
        self.level -= 1
        return node


def parse_yaml(text: str) -> Any:
    """The value in a YAML text. Raises UserError where it is none."""
    try:
        return yaml.load(text, _Loader)
    except Exception as error:  # PyYAML passes on what int, float, datetime and base64 raise for a wrong value
        if is_shortage(error):
            raise
        raise UserError(f"is not valid YAML ({one_line(error) or type(error).__name__})") from error
