"""The picture of the folders in docs/architecture.md is that of the imports that tests/test_arrows.py allows."""

import re

from tests.support.documents import ROOT
from tests.test_arrows import ALLOWED

LEAF = "tools.cli"  # every folder may import it: its arrows are left out


def diagram():
    """The picture, as mermaid text."""
    lines = [f"    {room} --> {other}" for room, others in ALLOWED.items() for other in sorted(others - {LEAF})]
    return "\n".join(["```mermaid", "graph TD", *lines, "```"])


def test_the_picture_shows_the_arrows_that_are_allowed():
    text = (ROOT / "docs/architecture.md").read_text()
    found = re.search(r"^```mermaid\n.*?^```$", text, re.MULTILINE | re.DOTALL)
    assert found and found[0] == diagram(), f"put this into docs/architecture.md:\n{diagram()}"


def test_the_page_names_every_room():
    text = (ROOT / "docs/architecture.md").read_text()
    for room in ALLOWED:
        assert f"`{room.replace('.', '/')}/`" in text, room
