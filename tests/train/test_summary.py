"""What a run leaves for its user at its end."""

import json

import pytest
import torch

from tests.support.shards import make_data
from tests.support.training import trainings
from tests.support.training.trainings import one_thread  # noqa: F401
from tools import cli
from train import build as setup
from train.config import Config
from train.loop import train
from train.runtime.dist import Group
from train.summary import end_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of one epoch of 4 sequences on 4 records in 2 shards, evaluated on 2 records."""
    folder = tmp_path_factory.mktemp("summary run")
    data = make_data(folder / "data", records=4, evaluation=2, size=72)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setup, "create_network", trainings.create_tiny)
        flags = trainings.command(data, folder / "model", "--max-epoch", "1")
        run = setup.build(cli.parse(Config, flags), Group(0, 1, torch.device("cpu")), trainings.NoStop())
    assert train(run)
    yield run
    run.curves.close()


@pytest.fixture(autouse=True)
def no_earlier_summary(finished):
    (finished.job.folder / "summary.json").unlink(missing_ok=True)


def summary_of(run):
    return json.loads((run.job.folder / "summary.json").read_bytes())


def test_the_summary_says_what_was_trained_on_what_and_how_good_it_is(finished):
    end_run(finished, True, 61.0)
    found = summary_of(finished)
    assert found["finished"] and found["network"] == trainings.NAME and found["run_id"] == finished.position.run_id
    assert (found["records"], found["shards"], found["eval_records"]) == (
        finished.data.plan.count,
        len(finished.data.plan.shard_sizes),
        2,
    )
    assert (found["epochs"], found["steps"], found["sequences"], found["seconds"]) == (1, 2, 4, 61.0)
    assert found["best"] == finished.position.best_metrics
    assert found["configuration"]["tile"] == 64


def test_the_paragraph_ends_with_the_best_network_and_names_a_command_that_can_be_typed(finished, capsys):
    end_run(finished, True, 3700.0)
    trained, evaluated, following, done = capsys.readouterr().out.splitlines()
    assert "for 1 epoch (4 sequences) on 4 records in" in trained and trained.endswith("in 1h01m")
    best = finished.position.best_metrics
    assert (
        f"best evaluation, of 2 records: loss {best['loss']:.4f}, PSNR in holes {best['masked_psnr']:.2f} dB"
        in evaluated
    )
    assert f"replicate {best['masked_psnr_replicate']:.2f} dB" in evaluated
    network = finished.job.folder / f"{trainings.NAME}.pth"
    assert f"--checkpoint '{network}' -i '{finished.job.config.data_dir}/eval'" in following
    assert done == f"done: {network} is the best network, iw3 loads it unchanged"


def test_a_stopped_run_says_how_to_continue_and_its_time_is_added_to_that_of_the_next_start(finished, capsys):
    end_run(finished, False, 10.0)
    assert "the same command with --resume continues from there" in capsys.readouterr().out
    assert (summary_of(finished)["finished"], summary_of(finished)["seconds"]) == (False, 10.0)
    end_run(finished, True, 5.0)
    assert summary_of(finished)["seconds"] == 15.0


@pytest.mark.parametrize("text", ["", "[]", '{"run_id": "another", "seconds": 9}', "\0"])
def test_the_summary_of_another_run_or_a_damaged_one_is_replaced(finished, text):
    (finished.job.folder / "summary.json").write_text(text)
    end_run(finished, True, 5.0)
    assert summary_of(finished)["seconds"] == 5.0


def test_numbers_that_are_not_finite_keep_the_file_valid_json(finished, monkeypatch):
    monkeypatch.setitem(finished.position.best_metrics, "masked_tde", float("nan"))
    end_run(finished, True, 5.0)
    assert summary_of(finished)["best"]["masked_tde"] is None
