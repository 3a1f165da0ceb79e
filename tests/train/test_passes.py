"""Several sequences in one forward pass: the same steps as with one sequence a pass."""

import pytest
import torch

from model.discriminators import DISCRIMINATORS
from tests.support.shards import make_data
from tests.support.training import trainings
from tests.support.training.small_discriminators import small_ensemble
from tests.support.training.trainings import one_thread  # noqa: F401
from tools import cli
from train import build as setup
from train import loop, passes, step
from train.config import Config
from train.data.plan import slots_of
from train.objectives import loss
from train.objectives.perceptual import Perceptual, vgg16_trunk
from train.runtime.dist import Group

CPU = torch.device("cpu")
CASES = {
    "LPIPS, diff-augmentation and EMA": ("--loss", "band_l1lpips", "--ema-model"),
    "DCT": ("--loss", "dct"),
    "discriminator": ("--loss", "temporal_l1lpips", "--tile", 80, "--discriminator", "ffce"),
    "checkpointed": ("--loss", "temporal_l1", "--checkpoint-blocks"),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("passes") / "data", records=6, evaluation=2, size=96)


@pytest.fixture
def build(data, tmp_path, monkeypatch):
    """A function that builds a run of one process, four sequences a step, that is about to take its first step."""
    runs = []
    monkeypatch.setitem(DISCRIMINATORS, "ffce", small_ensemble)
    monkeypatch.setattr(setup, "create_network", trainings.create_tiny)
    monkeypatch.setattr(loss, "load_perceptual", lambda *_: tiny_perceptual())

    def build(*flags):
        words = trainings.command(data, tmp_path / str(len(runs)), "--backward-step", 4, "--num-samples", 96, *flags)
        runs.append(setup.build(cli.parse(Config, [*map(str, words)]), Group(0, 1, CPU), trainings.NoStop()))
        return runs[-1]

    yield build
    for run in runs:
        run.curves.close()


def tiny_perceptual():
    torch.manual_seed(0)
    widths = (4, 4, 8, 8, 8)
    return Perceptual(vgg16_trunk(widths), [torch.rand(width) for width in widths])


def gradients(run):
    """The gradients of the next step by name, of the network and the discriminator."""
    parts = [run.learner.network, *([run.learner.gan.network] if run.learner.gan else [])]
    return {
        f"{part}/{name}": weight.grad.clone()
        for part, module in enumerate(parts)
        for name, weight in module.named_parameters()
        if weight.grad is not None
    }


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_step_is_the_same_whatever_the_sequences_of_a_pass(case, build, monkeypatch):
    def take(size):
        run = build(*CASES[case], "--batch-size", size)
        if run.learner.gan:
            run.learner.gan.adaptive.value, run.position.step = 1.0, 10_000  # the adversarial loss has its full weight
        results, found = [], {}
        monkeypatch.setattr(step, "count", lambda run, these, healthy: results.extend(these))
        unpatched = step.update
        monkeypatch.setattr(step, "update", lambda *args: found.update(gradients(run)) or unpatched(*args))
        step.step(run, run.data.stream.samples(loop.slots_to_do(run, 4)))
        monkeypatch.setattr(step, "update", unpatched)
        return results, found

    (expected, reference), (results, found) = take(1), take(4)
    for ours, theirs in zip(results, expected, strict=True):
        assert (ours.index, ours.record, ours.digest) == (theirs.index, theirs.record, theirs.digest)
        assert ours.terms == pytest.approx(theirs.terms, rel=1e-5)
        assert (ours.adversarial is None) == (theirs.adversarial is None)
        if ours.adversarial:
            assert vars(ours.adversarial) == pytest.approx(vars(theirs.adversarial), rel=1e-4)
    assert found.keys() == reference.keys()
    for name, gradient in reference.items():
        assert (found[name] - gradient).norm() <= 1e-5 * gradient.norm(), name


@pytest.mark.slow
def test_a_training_with_more_sequences_a_pass_sees_the_same_stream_and_can_be_resumed_with_fewer(data, tmp_path):
    one, four = tmp_path / "one", tmp_path / "four"
    more = ("--num-samples", 96, "--backward-step", 4, "--max-epoch", 3, "--scheduler", "step")
    trainings.train(one, *trainings.command(data, one, *more))
    trainings.train(four, *trainings.command(data, four, *more, "--batch-size", 4, "--max-epoch", 2))
    trainings.train(four, *trainings.command(data, four, *more, "--batch-size", 2, "--resume"))
    found, expected = (trainings.checkpoint(folder)["backfill"]["place"] for folder in (four, one))
    assert found["digest"] == expected["digest"]
    for row, wanted in zip(found["rows"], expected["rows"], strict=True):
        assert row == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("tiles", [1, 3])
@pytest.mark.parametrize("world", [1, 2, 3, 4, 5])
def test_processes_share_the_sequences_of_a_step_as_evenly_as_records_allow(world, tiles):
    config = Config(backward_step=15, tiles_per_record=tiles)
    shares = [passes.share_of(config, rank, world) for rank in range(world)]
    assert sum(shares) == 15 and max(shares) - min(shares) in (0, tiles)
    assert shares == [len(slots_of(rank, world, 30, 45, 15, tiles)) for rank in range(world)]


def test_passes_are_as_few_as_a_batch_allows_and_nearly_equal():
    assert passes.pass_sizes(8, 5) == (4, 4) and passes.pass_sizes(7, 3) == (3, 2, 2)
    for share in range(1, 20):
        for limit in range(25):
            sizes = passes.pass_sizes(share, limit)
            assert sum(sizes) == share and max(sizes) <= max(limit, 1) and max(sizes) - min(sizes) <= 1
            assert len(sizes) == -(-share // max(limit, 1))


@pytest.mark.parametrize(("world", "tiles", "least"), [(9, 1, 9), (5, 2, 10)])
def test_more_processes_than_a_step_has_work_for_are_refused(world, tiles, least):
    with pytest.raises(ValueError, match=rf"^--backward-step 8 .* found {world} processes.*: pass {least} or more"):
        passes.check_shares(Config(backward_step=8, tiles_per_record=tiles), world)
    with pytest.raises(ValueError, match="--backward-step 8 with 3 tiles per record: expected a multiple of 3"):
        passes.check_shares(Config(backward_step=8, tiles_per_record=3), 1)


def test_by_default_a_pass_has_one_sequence_on_a_cpu_and_what_the_memory_of_a_gpu_allows(monkeypatch):
    assert passes.choose_batch_size(Config(backward_step=8), Group(0, 2, CPU)) == 1
    for gigabytes, share, expected in ((4, 8, 1), (12, 8, 2), (24, 8, 4), (24, 6, 3), (80, 4, 4)):
        limit = gigabytes * 10**9 // passes.BYTES_PER_SEQUENCE
        monkeypatch.setattr(passes, "sequences_that_fit", lambda device, limit=limit: limit)
        group = Group(0, 1, torch.device("cuda"))
        assert passes.choose_batch_size(Config(backward_step=share), group) == expected
