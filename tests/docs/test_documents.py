"""What documents name exists: links lead somewhere, commands and their options are known."""

import re

import pytest

from tests.support.documents import ROOT, anchors, commands, documents, links, makefile, options

DOCUMENTS = documents()


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def flags_of(words):
    """The flags among these words; what stands in quotes as one value is no flag."""
    return [word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word) and " " not in word]


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_links_lead_to_files_and_headings_that_exist(path):
    for link in links(path.read_text()):
        if re.match(r"\w+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = path.parent / file if file else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text()), link


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_targets_of_make_and_their_variables_exist(path):
    recipes, text = makefile(), (ROOT / "Makefile").read_text()
    for command in commands(path.read_text()):
        if command.name.startswith("make "):
            assert command.name.removeprefix("make ") in recipes, command
            for variable in re.findall(r"\b([A-Z_]+)=", " ".join(command.words)):
                assert f"$({variable})" in text or f"ifdef {variable}" in text or f"{variable} ?=" in text, command


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_programs_and_their_flags_exist(path):
    for command in commands(path.read_text()):
        if command.name.startswith("make "):
            recipe = makefile()[command.name.removeprefix("make ")]
            programs = re.findall(r"(?:pack|train|tools)/\w+\.py", recipe)
            quoted = [word.partition("=")[2] for word in command.words if word.startswith("ARGS=")]
            known = set().union(*map(options, programs))
            words = [word for words in quoted for word in words.split()]
        else:
            assert (ROOT / command.name).is_file(), command
            if command.name.startswith("tests/"):
                continue
            known, words = options(command.name), command.words
        unknown = [flag for flag in flags_of(words) if flag not in known]
        assert not unknown, f"{command}: {unknown}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_documents_name_no_path_of_the_machine_they_were_written_on(path):
    assert not re.search(r"(?<![\w.])/(?:work|root|home|tmp/)\b", path.read_text())
