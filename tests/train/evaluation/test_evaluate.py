import numpy as np
import pytest
import torch
from PIL import Image

from pack.shards.shard import list_shards
from tests.pack.shards.test_faults import flip
from tests.support.shards import make_split
from tests.support.training import trainings
from tests.support.training.trainings import one_thread  # noqa: F401
from train.data.augment import to_device_batch
from train.data.records import Records
from train.data.samples import Samples
from train.evaluation.evaluate import evaluate, measure, trim
from train.evaluation.metrics import as_uint8
from train.objectives.loss import create_loss
from train.runtime.dist import Group

COUNT = 7
CPU = torch.device("cpu")


class Done(Exception):
    pass


class Rank(Group):
    """A process of a job whose processes take their turns one after the other, the first one last."""

    def gather_objects(self, value):
        self.parts[self.rank] = value
        if self.rank:
            raise Done
        return [self.parts[rank] for rank in range(self.world_size)]

    def any(self, flag):
        return flag


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    return make_split(tmp_path_factory.mktemp("evaluation") / "eval", records=COUNT, shards=2, size=136)


@pytest.fixture(scope="module")
def network():
    return trainings.create_tiny("", generator=torch.Generator().manual_seed(0))


def samples(split):
    return Samples(Records(list_shards(split)), 12, 64)


def evaluate_with(world, split, network, folder, step=3, stop=None):
    """What the first of `world` processes finds when all of them evaluate."""
    Rank.parts, stop = {}, stop or trainings.NoStop()
    for rank in reversed(range(world)):
        group = Rank(rank, world, CPU)
        try:
            return evaluate(network, create_loss("hole_l1"), samples(split), group, 0, stop, step, folder)
        except Done:
            assert network.training


@pytest.fixture(scope="module")
def alone(split, network, tmp_path_factory):
    return evaluate_with(1, split, network, tmp_path_factory.mktemp("alone"))


@pytest.mark.slow
def test_the_numbers_are_the_means_over_every_record_once(split, network, alone):
    network.eval()
    rows = [measure(network, create_loss("hole_l1"), samples(split)[0, n, n], CPU)[0] for n in range(COUNT)]
    network.train()
    for name, value in alone.metrics.items():
        assert value == pytest.approx(np.mean([row[name] for row in rows]), rel=1e-12)
    assert len({row["loss"] for row in rows}) == COUNT


@pytest.mark.parametrize("world", [2, 3, 4, 9])
def test_the_metrics_are_the_same_bit_for_bit_with_any_number_of_processes(world, split, network, alone, tmp_path):
    found = evaluate_with(world, split, network, tmp_path)
    assert found.metrics == alone.metrics and found.bad_records == ()
    assert found.pictures.keys() == alone.pictures.keys()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.png", "3.png", "6.png"]


def test_pictures_show_input_output_and_truth(split, network, tmp_path):
    evaluate_with(1, split, network, tmp_path)
    picture = np.asarray(Image.open(tmp_path / "3.png"))
    sample = samples(split)[0, 3, 3]
    network.eval()
    with torch.no_grad():
        frames, holes = (part[0] for part in to_device_batch([sample], CPU))
        masked, mask = network.preprocess(frames, holes)
        columns = [trim(masked), network(masked, mask), trim(frames)]
    network.train()
    assert picture.shape == (12 * 32, 3 * 32, 3)
    for column, frames in enumerate(columns):
        shown = picture[:, column * 32 : (column + 1) * 32].reshape(12, 32, 32, 3)
        assert np.array_equal(shown, as_uint8(frames).numpy())


def test_the_loss_is_the_criterion_without_augmentation_on_clamped_output(split, network):
    sample = samples(split)[0, 2, 2]
    network.eval()
    with torch.no_grad():
        frames, holes = (part[0] for part in to_device_batch([sample], CPU))
        output = network(*network.preprocess(frames, holes))
    found = measure(network, create_loss("hole_l1"), sample, CPU)[0]
    network.train()
    assert output.min() >= 0 and output.max() <= 1
    terms = create_loss("hole_l1")(output, trim(frames), trim(holes))
    assert found["loss"] == pytest.approx(float(sum(terms.values())))


@pytest.mark.slow
@pytest.mark.parametrize("world", [1, 3])
def test_a_bad_record_is_left_out_and_named(world, network, alone, tmp_path):
    split = make_split(tmp_path / "eval", records=COUNT, shards=2, size=136)
    flip(split, record=4, at=0.5)
    found = evaluate_with(world, split, network, tmp_path / "pictures")
    assert [fault.key for fault in found.bad_records] == ["test_1_0"]
    network.eval()
    loss = [
        measure(network, create_loss("hole_l1"), samples(split)[0, n, n], CPU)[0]["loss"] for n in (0, 1, 2, 3, 5, 6)
    ]
    network.train()
    assert found.metrics["loss"] == pytest.approx(np.mean(loss), rel=1e-12)


def test_an_evaluation_without_a_usable_record_is_an_error(network, tmp_path):
    split = make_split(tmp_path / "eval", records=1, shards=1, size=72)
    flip(split, record=0, at=0.5)
    with pytest.raises(ValueError, match=r"no record for evaluation can be used.*s0-00.tar.*crc32"):
        evaluate_with(1, split, network, tmp_path)


def test_a_signal_is_checked_before_every_record(split, network, tmp_path):
    class Later(trainings.NoStop):
        asked = 0

        @property
        def name(self):
            self.asked += 1
            return "SIGTERM" if self.asked > 4 else ""

    stop = Later()
    assert evaluate_with(1, split, network, tmp_path, step=1, stop=stop) is None
    assert len(list(tmp_path.iterdir())) == 4 and network.training
