"""The tables of options in the READMEs, made from the configurations themselves: `python tools/options.py` renews them.

Japanese texts stand in tools/options_ja.json, by program and flag.
"""

import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path

if not __package__:  # run as a file: import from the repository root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import pack.config
import train.config
from tools import cli

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = {"pack/main.py": pack.config.Config, "train/main.py": train.config.Config}
HEADS = {"README.md": ("flag", "default", "what it is"), "README.ja.md": ("オプション", "既定値", "説明")}


@dataclass(frozen=True)
class Config:
    """Renew the tables of options in README.md and README.ja.md."""

    check: bool = False  # change nothing, and end with status 1 when a table is out of date


def main() -> int:
    config = cli.parse(Config)
    stale = [name for name in HEADS if renewed(name) != (ROOT / name).read_text(encoding="utf-8")]
    for name in stale:
        print(f"{name}: {'is out of date, run python tools/options.py' if config.check else 'renewed'}")
        if not config.check:
            (ROOT / name).write_text(renewed(name), encoding="utf-8")
    return int(config.check and bool(stale))


def renewed(readme: str) -> str:
    """The text of a README with its tables made anew, each between its two markers."""
    text = (ROOT / readme).read_text(encoding="utf-8")
    for program, config in PROGRAMS.items():
        start, end = f"<!-- options of {program} -->\n", f"<!-- end of options of {program} -->"
        before, _, rest = text.partition(start)
        after = rest.partition(end)[2]
        text = before + start + table(program, config, readme) + end + after
    return text


def table(program: str, config: type, readme: str) -> str:
    """The options of a program as a Markdown table."""
    texts = cli.field_comments(config)
    if readme == "README.ja.md":
        japanese = json.loads((ROOT / "tools" / "options_ja.json").read_text(encoding="utf-8"))[program]
        texts = {name: japanese[name] for name in texts}
    rows = [HEADS[readme], ("---",) * 3]
    for field in dataclasses.fields(config):
        names = [*getattr(config, "ALIASES", {}).get(field.name, ()), "--" + field.name.replace("_", "-")]
        rows.append((" ".join(f"`{name}`" for name in names), default(field), texts[field.name].replace("|", "\\|")))
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def default(field: dataclasses.Field) -> str:
    """The default as it is typed on a command line."""
    value = field.default
    if value is dataclasses.MISSING or value is None or value == "":
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"`{' '.join(map(str, value)) if isinstance(value, tuple) else value}`"


if __name__ == "__main__":
    cli.run(main)
