"""What the best network is, what is kept of it, and what the log and TensorBoard say."""

import re
import signal

import pytest
import torch

from model.checkpoint import read_file
from tests.support.shards import make_data
from tests.support.training import trainings
from train.evaluation import selection as best
from train.evaluation.evaluate import Result

pytestmark = pytest.mark.slow

EMA = ("--ema-model", "--ema-decay", 0.5)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("best") / "data", records=6, evaluation=3, size=80)


def numbers(*values):
    """Evaluations one after the other, as a hook gives them."""
    return [["replace metrics", "train.evaluation.selection.evaluate", [dict(v) for v in values]]]


def weights(path):
    return dict(read_file(path)["state_dict"])


@pytest.mark.parametrize(
    ("metric", "values", "found"),
    [
        ("loss", (0.5, 0.4, 0.4, 0.6), (True, True, False, False)),
        ("masked_mae", (0.5, 0.4, 0.6), (True, True, False)),
        ("masked_tde", (0.5, 0.6), (True, False)),
        ("psnr", (20, 21, 21, 19), (True, True, False, False)),
        ("masked_psnr", (20, 19, 22), (True, False, True)),
        ("masked_ssim", (0.5, float("nan"), 0.6), (True, False, True)),
        ("loss", (float("nan"), 0.5), (False, True)),
        ("loss", (float("-inf"), 0.5), (False, True)),
        ("psnr", (float("inf"), 20), (False, True)),
    ],
)
def test_better_is_lower_for_errors_higher_for_similarities_and_never_one_that_is_not_finite(metric, values, found):
    so_far = None
    for value, expected in zip(values, found, strict=True):
        assert best.is_better(metric, value, so_far) == expected
        so_far = value if expected else so_far


def test_the_network_of_the_metric_that_is_asked_for_is_kept_with_the_loss_that_it_has(data, tmp_path):
    """PSNR is highest in the second of three evaluations, the loss lowest in the third."""
    told = numbers(*({"loss": a, "masked_psnr": b} for a, b in ((0.5, 20), (0.4, 22), (0.3, 21))))
    flags = trainings.command(data, tmp_path, "--eval-metric", "masked_psnr", "--save-epoch")
    log = trainings.train(tmp_path, *flags, hooks=told).log()
    assert [line.endswith("(best)") for line in log.splitlines() if ": evaluation " in line] == [True, True, False]
    assert "best masked_psnr 22.00000" in log
    kept = weights(tmp_path / f"{trainings.NAME}.pth")
    epochs = [weights(tmp_path / "epoch" / str(epoch) / f"{trainings.NAME}.pth") for epoch in (1, 2, 3)]
    assert [trainings.sha256(each) == trainings.sha256(kept) for each in epochs] == [False, True, False]
    saved = trainings.checkpoint(tmp_path)
    assert saved["best_loss"] == 0.4  # what iw3 would compare its losses with
    assert saved["backfill"]["place"]["best"] == 22
    rows = (tmp_path / f"loss_{saved['backfill']['place']['run_id']}.csv").read_text().splitlines()
    assert [float(row.split(",")[2]) for row in rows] == [0.5, 0.4, 0.3]


def test_a_resume_with_another_metric_says_what_the_best_network_has_and_keeps_it_until_a_better(data, tmp_path):
    flags = trainings.command(data, tmp_path, "--scheduler", "step", "--resume")
    first = numbers({"loss": 0.4, "masked_psnr": 22}, {"loss": 0.5, "masked_psnr": 25})
    trainings.train(tmp_path, *flags, "--max-epoch", 2, hooks=first)
    kept = weights(tmp_path / f"{trainings.NAME}.pth")
    again = (*flags, "--eval-metric", "masked_psnr")
    log = trainings.train(tmp_path, *again, "--max-epoch", 3, hooks=numbers({"loss": 0.1, "masked_psnr": 21})).log()
    assert "changed since the checkpoint: eval_metric: loss -> masked_psnr" in log
    assert "the best network so far has masked_psnr 22.0000 and is kept until one is better" in log
    assert trainings.sha256(weights(tmp_path / f"{trainings.NAME}.pth")) == trainings.sha256(kept)
    trainings.train(tmp_path, *again, "--max-epoch", 4, hooks=numbers({"loss": 0.9, "masked_psnr": 23}))
    assert trainings.sha256(weights(tmp_path / f"{trainings.NAME}.pth")) != trainings.sha256(kept)
    assert trainings.checkpoint(tmp_path)["best_loss"] == 0.9


def test_surpassing_a_simple_fill_is_logged_once_for_each_even_across_a_resume(data, tmp_path):
    told = [{"masked_psnr": x, "masked_psnr_replicate": 20, "masked_psnr_nearest_frame": 24} for x in (19, 21, 19, 25)]
    flags = trainings.command(data, tmp_path, "--scheduler", "step", "--resume")
    trainings.train(tmp_path, *flags, "--max-epoch", 2, hooks=numbers(*told[:2]))
    log = trainings.train(tmp_path, *flags, "--max-epoch", 4, hooks=numbers(*told[2:])).log()
    assert re.findall(r"epoch \d: better than .*", log) == [
        "epoch 2: better than replicate in holes, 21.00 > 20.00 dB",
        "epoch 4: better than nearest frame in holes, 25.00 > 24.00 dB",
    ]


def test_an_average_and_its_raw_weights_are_both_evaluated_and_both_exported(data, tmp_path):
    log = trainings.train(tmp_path, *trainings.command(data, tmp_path, *EMA, "--save-epoch", "--max-epoch", 2)).log()
    curves = trainings.curves(tmp_path)
    names = {tag.partition("/eval/")[2] for tag in curves if "/eval/" in tag and not tag[-1].isdigit()}
    assert {"loss", "psnr", "masked_psnr", "masked_ssim", "masked_mae", "masked_tde"} < names
    assert names == {tag.partition("/eval_raw/")[2] for tag in curves if "/eval_raw/" in tag}
    assert "epoch 1: evaluation loss" in log and "epoch 1: evaluation of the raw weights loss" in log
    average, raw = (trainings.NAME + end for end in (".pth", ".raw.pth"))
    saved = trainings.checkpoint(tmp_path)
    for folder in (tmp_path, tmp_path / "epoch" / "1"):
        assert trainings.sha256(weights(folder / raw)) == trainings.sha256(dict(saved["state_dict"]))
        assert trainings.sha256(weights(folder / average)) == trainings.sha256(
            dict(saved["backfill"]["ema"]["weights"])
        )
    for file, curve in ((average, "eval"), (raw, "eval_raw")):
        network = trainings.create_tiny("")
        network.load_state_dict(weights(tmp_path / file))
        assert evaluated(network, data)["masked_psnr"] == pytest.approx(
            curves[f"epochs/{curve}/masked_psnr"][-1][1], rel=1e-5
        )


def evaluated(network, data):
    from pack.shards.shard import list_shards
    from tests.train.evaluation.test_evaluate import CPU, Group
    from train.data.records import Records
    from train.data.samples import Samples
    from train.evaluation.evaluate import evaluate
    from train.objectives.loss import create_loss

    samples = Samples(Records(list_shards(data / "eval")), 12, 64)
    found = evaluate(network, create_loss("temporal_l1"), samples, Group(0, 1, CPU), 0, trainings.NoStop(), 1, None)
    assert isinstance(found, Result)
    return found.metrics


def test_a_signal_in_the_evaluation_of_the_raw_weights_stops_it_and_the_resume_evaluates_both(data, tmp_path):
    untouched, stopped = tmp_path / "untouched", tmp_path / "stopped"
    trainings.train(untouched, *trainings.command(data, untouched, *EMA))
    flags = trainings.command(data, stopped, *EMA, "--resume")
    hooks = [
        ["signal at", "train.evaluation.evaluate.measure", 5, signal.SIGTERM]
    ]  # the second of 3 records, of the raw ones
    log = trainings.train(stopped, *flags, hooks=hooks).log()
    assert "stopped by SIGTERM in epoch 1" in log and ": evaluation " not in log
    trainings.train(stopped, *flags)
    assert trainings.results(stopped) == trainings.results(untouched)


def test_a_checkpoint_from_before_a_setting_existed_can_be_resumed(data, tmp_path):
    trainings.train(tmp_path, *trainings.command(data, tmp_path, "--max-epoch", 2, "--scheduler", "step"))
    path = tmp_path / f"{trainings.NAME}.checkpoint.pth"
    saved = read_file(path)
    del saved["train_kwargs"]["eval_metric"]
    for name in ("best_metrics", "passed"):
        del saved["backfill"]["place"][name]
    torch.save(saved, path)
    log = trainings.train(
        tmp_path, *trainings.command(data, tmp_path, "--max-epoch", 3, "--scheduler", "step", "--resume")
    ).log()
    assert "eval_metric" not in log and "epoch 3/3" in log
