"""What documents name exists: links lead somewhere, commands and their options are known."""

import ast
import contextlib
import re

import pytest

from tests.support.documents import (
    RECIPES,
    ROOT,
    Command,
    anchors,
    code,
    commands,
    documents,
    links,
    makefile,
    options,
    programs,
)
from tools.cli import parse
from tools.options import PROGRAMS, TOOLS, configuration

DOCUMENTS = documents()
LONGEST_README = 150  # lines
OTHERS_FLAGS = {  # of torchrun, iw3 and Slurm
    "--nproc-per-node",
    "--max-restarts",
    "--nnodes",
    "--rdzv-backend",
    "--rdzv-endpoint",
    "--rdzv-id",
    "--rdzv-conf",
    "--inpaint-model",
    "--depth-aa",
}
OTHERS_FLAGS_IN_CODE = {  # of torchrun, iw3, git, pip, TensorBoard and demo.py, and examples
    *("--standalone", "--export", "--export-depth-only", "--always", "--abbrev", "--dirty", "--logdir", "--quiet"),
    *("--disable-pip-version-check", "--no-deps", "--no-binary", "--only-binary", "--dest", "--steps", "--processes"),
    *("--field", "--flag", "--no-x"),
}
MAKE = r"(?:`|run |see )make ([a-z0-9-]+)|\bmake ([a-z0-9-]+)(?= [A-Z0-9]+=)"


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def messages(source):
    """The text that a module holds, of messages and of docstrings."""
    return [node.value for node in ast.walk(ast.parse(source)) if is_text(node)]


def is_text(node):
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


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
    recipes = makefile()
    code_of_makefile = re.sub(r"##.*|'error:.*?'", "", (ROOT / "Makefile").read_text())
    for command in commands(path.read_text()):
        if command.name.startswith("make "):
            assert command.name.removeprefix("make ") in recipes, command
            for variable in re.findall(r"\b([A-Z_]+)=", " ".join(command.words)):
                assert re.search(rf"\b{variable}\b(?!=)", code_of_makefile), f"{command}: {variable}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_programs_and_their_flags_exist(path):
    for command in commands(path.read_text()):
        if command.name.startswith("make "):
            recipe = makefile()[command.name.removeprefix("make ")]
            quoted = [word.partition("=")[2] for word in command.words if word.startswith("ARGS=")]
            known = set().union(*map(options, programs(recipe)))
            words = [word for words in quoted for word in words.split()]
        else:
            assert (ROOT / command.name).exists(), command
            if command.name.startswith(("tests/", "docs/")):
                continue
            known, words = options(command.name), command.words
        unknown = [flag for flag in flags_of(words) if flag not in known]
        assert not unknown, f"{command}: {unknown}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_commands_with_all_their_values_are_accepted(path, capsys):
    for command in commands(path.read_text()):
        words = command.words[: command.words.index(">")] if ">" in command.words else command.words
        is_whole = words and not any("$" in word or word.isupper() or word == "--config" for word in words)
        if is_whole and not command.name.startswith(("make ", "tests/", "docs/")):
            with contextlib.suppress(SystemExit):  # of --print-config, or of an error
                parse(configuration(RECIPES.get(command.name, command.name)), list(words))
            assert not capsys.readouterr().err, command


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_flags_that_are_named_alone_are_of_one_of_our_programs(path):
    known = OTHERS_FLAGS.union(*map(options, PROGRAMS + TOOLS))
    found = {flag for piece in code(path.read_text()) if piece.startswith("--") for flag in flags_of(piece.split())}
    assert not {flag for flag in found - known if not flag.startswith("--no-")}


@pytest.mark.parametrize("room", ["pack", "model", "train", "tools"])
def test_messages_name_flags_targets_and_pages_that_exist(room):
    known = OTHERS_FLAGS.union(OTHERS_FLAGS_IN_CODE, *map(options, PROGRAMS + TOOLS))
    for path in sorted((ROOT / room).rglob("*.py")):
        for text in messages(path.read_text()):
            flags = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*[a-z0-9](?![\w-])", text))
            targets = {target for pair in re.findall(MAKE, text) for target in pair if target}
            pages = set(re.findall(r"\bdocs/[\w-]+\.md\b", text))
            assert not flags - known and not targets - makefile().keys(), (name_of(path), text)
            assert all((ROOT / page).exists() for page in pages), (name_of(path), text)


def test_advice_to_change_the_output_names_it_as_make_does():
    run_by_make = (ROOT / "Makefile").read_text()
    for path in (path for room in ("pack", "model", "train", "tools") for path in (ROOT / room).rglob("*.py")):
        source = path.read_text()
        if "cli.run(main)" in source and name_of(path) not in run_by_make and path.name != "__main__.py":
            continue  # a program without a target
        for text in messages(source):
            assert not re.search(r"\b(?:pass|another) -o\b", text), (name_of(path), text)


@pytest.mark.parametrize("name", ["README.md", "README.ja.md"])
def test_readme_is_short(name):
    assert len((ROOT / name).read_text().splitlines()) <= LONGEST_README


def test_every_page_is_reached_from_the_readme():
    seen, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page not in seen and page.suffix == ".md":
            seen.add(page)
            targets = (link.partition("#")[0] for link in links(page.read_text()) if not re.match(r"\w+:", link))
            waiting += [(page.parent / target).resolve() for target in targets if target]
    assert set(DOCUMENTS) <= seen


@pytest.mark.parametrize("name", RECIPES)
def test_the_example_in_a_recipe_has_flags_that_exist(name):
    found = re.search(rf"^#   (sbatch .*{name}.*)$", (ROOT / name).read_text(), re.MULTILINE)
    (command,) = commands(f"`{found[1]}`")
    assert command.name == name and not set(flags_of(command.words)) - options(name)


def test_commands_are_found_in_code_and_in_prose():
    text = "Run `make peek DATA=a ARGS='--tile 3'`.\n\n```sh\ntorchrun train/main.py -i a \\\n  --resume  # on\n```\n"
    assert list(commands(text)) == [
        Command("train/main.py", ("-i", "a", "--resume")),
        Command("make peek", ("peek", "DATA=a", "ARGS=--tile 3")),
    ]


def test_a_flag_that_does_not_exist_is_found():
    assert not {"--resume", "--no-diff-aug", "-i"} - options("train/main.py")
    assert {"--resum", "--nproc-per-node"}.isdisjoint(options("train/main.py"))


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_documents_name_no_path_of_the_machine_they_were_written_on(path):
    assert not re.search(r"(?<![\w.])/(?:work|root|home|tmp/)\b", path.read_text())
