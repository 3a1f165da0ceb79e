"""The pages of options say what the programs say."""

import dataclasses

import pytest

from tests.support.documents import ROOT, documents
from tools.options import HEADS, PROGRAMS, configuration, descriptions, page


@pytest.mark.parametrize("name", HEADS)
def test_pages_of_options_are_up_to_date(name):
    assert (ROOT / name).read_text(encoding="utf-8") == page(name), "run python tools/options.py"


@pytest.mark.parametrize("program", PROGRAMS)
def test_japanese_descriptions_are_of_the_options_that_exist(program):
    names = {field.name for field in dataclasses.fields(configuration(program))}
    assert descriptions(program, configuration(program), japanese=True).keys() == names


def test_there_are_documents():
    assert ROOT / "README.md" in documents()
