"""The examples of docs/data-format.md that train on the stream end with equal weights when they are stopped midway."""

import re
from functools import partial

import pytest
import torch

import train.data
from tests.support.documents import ROOT
from tests.support.shards import make_data
from tests.support.training.trainings import one_thread  # noqa: F401
from train.data import library, open_stream

TEXT = (ROOT / "docs/data-format.md").read_text()
SHARED, *EXAMPLES = re.findall(r"```python\n(.*?)```", TEXT[TEXT.index("## Samples in a trainer") :], re.DOTALL)
NEEDS = (None, "lightning", "accelerate")


class Stopped(Exception):
    pass


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("examples") / "data", records=7, evaluation=1, size=72)


def run(example, folder, data, monkeypatch, stop_at=0):
    """The weights that an example ends with; it is stopped as its `stop_at`-th batch is made."""
    folder.mkdir(exist_ok=True)
    monkeypatch.chdir(folder)
    (folder / "data").exists() or (folder / "data").symlink_to(data)
    made, real = [], library.to_device_batch

    def to_device_batch(*arguments):
        made.append(arguments)
        if len(made) == stop_at:
            raise Stopped
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(library, "to_device_batch", to_device_batch)
        patch.setattr(train.data, "open_stream", partial(open_stream, tile=64))
        names = {"__name__": "example"}
        try:
            exec(compile(SHARED + example, "example", "exec"), names)
        except Stopped:
            return len(made)
    return len(made), {name: weight.detach().cpu() for name, weight in names["network"].state_dict().items()}


@pytest.mark.slow
@pytest.mark.parametrize(("example", "needs"), [*zip(EXAMPLES, NEEDS, strict=True)], ids=["torch", *NEEDS[1:]])
def test_an_example_that_is_stopped_and_started_again_ends_with_the_same_weights(
    example, needs, data, tmp_path, monkeypatch
):
    if needs:
        pytest.importorskip(needs)
    batches, expected = run(example, tmp_path / "one", data, monkeypatch)
    assert batches == 6  # three epochs of seven records, rounded up to two batches of four
    assert run(example, tmp_path / "two", data, monkeypatch, stop_at=4) == 4  # the last of the second epoch
    batches, found = run(example, tmp_path / "two", data, monkeypatch)
    assert batches == 3
    assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


def test_the_table_names_what_a_batch_holds(data):
    section = TEXT[TEXT.index("| of a batch |") : TEXT.index("- `open_stream")]
    named = re.findall(r"^\| `(\w+)`", section, re.MULTILINE)
    assert named == [*library.Batch.__annotations__] == [*next(iter(open_stream(data, batch_size=1, tile=64)))]


def test_the_examples_are_short():
    assert all(len(re.findall(r"^[^\n#]", example, re.MULTILINE)) <= 20 for example in EXAMPLES)
