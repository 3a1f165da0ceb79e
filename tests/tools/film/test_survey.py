import io

import numpy as np
import pytest
import torch

from pack.film_depth import DepthOptions, open_depth
from pack.video.grey import frame_times
from pack.video.reader import probe
from tests.support.media.depth_files import nearness, write_pngs
from tests.support.media.films import Brightness
from tests.support.media.shot_films import make_shots
from tools.cli import UserError
from tools.film.survey import read_raw, shot_of, steadiness, survey, write_raw
from tools.film.work import Work

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return make_shots(tmp_path_factory.mktemp("film") / "film.mkv", shots=5, length=10)


def surveyed(folder, film, model=None):
    return survey(Work(folder), probe(film), model or Brightness(), "Any_V2_S", CPU)


def test_the_depth_is_an_export_that_all_programs_read(film, tmp_path):
    shots = surveyed(tmp_path, film)
    assert [(shot.first, shot.frames) for shot in shots] == [(10 * n, 10) for n in range(5)]
    assert all(sum(shot.nearness) == pytest.approx(1, abs=1e-3) for shot in shots)
    found = open_depth(str(tmp_path / "depth"), probe(film), DepthOptions())
    assert found.model_type == "Any_V2_S" and found.is_ranged and not found.metric and found.mapper == "none"
    assert found.cuts == {10, 20, 30, 40}
    times, bright = frame_times(film), nearness(film)
    for first in range(0, 50, 10):  # nearness is an affine map of what the model says, one for the shot
        read = np.concatenate([found.read([time])[0] for time in times[first : first + 10]])
        assert 0 <= read.min() < 0.01 and read.max() > 0.99
        inside = (read > 0) & (read < 1)
        slope, offset = np.polyfit(bright[first : first + 10][inside], read[inside], 1)
        assert np.abs(slope * bright[first : first + 10][inside] + offset - read[inside]).max() < 0.01


def test_a_survey_that_was_stopped_continues_to_the_same_bytes(film, tmp_path):
    class Tired(Brightness):
        calls = 0

        def __call__(self, frames):
            self.calls += 1
            if self.calls == 4:
                raise KeyboardInterrupt
            return super().__call__(frames)

    whole = surveyed(tmp_path / "whole", film)
    with pytest.raises(KeyboardInterrupt):
        surveyed(tmp_path / "part", film, Tired())
    kept = len(Work(tmp_path / "part").read("shots")["shots"])
    assert 0 < kept < 5 and not (tmp_path / "part/depth/iw3_export.yml").exists()
    again = surveyed(tmp_path / "part", film)
    assert again == whole
    files = [{p.name: p.read_bytes() for p in (tmp_path / name / "depth").rglob("*.*")} for name in ("whole", "part")]
    assert files[0] == files[1] and len(files[0]) == 51
    (tmp_path / "part/shots.json").write_text("{")
    with pytest.raises(UserError, match="is damaged: delete it, its stage is then repeated"):
        surveyed(tmp_path / "part", film)
    (tmp_path / "part/shots.json").unlink()
    assert surveyed(tmp_path / "part", film) == whole


def test_depth_of_another_film_is_noticed_at_the_cuts(film, tmp_path):
    smooth = np.linspace(0, 1, 50)[:, None, None] * np.ones((1, 48, 64), np.float32) + nearness(film)[:1] / 9
    other = open_depth(str(write_pngs(tmp_path / "other", smooth / 2)), probe(film), DepthOptions())
    with pytest.raises(UserError, match=r"at the film's 4 cuts and by .* elsewhere.*of another film\?"):
        surveyed(tmp_path / "work", film, other)
    own = open_depth(str(write_pngs(tmp_path / "own", nearness(film))), probe(film), DepthOptions())
    assert len(surveyed(tmp_path / "work2", film, own)) == 5


def test_flicker_of_depth_on_still_pixels_is_measured(film, tmp_path):
    class Nervous(Brightness):
        calls = 0

        def __call__(self, frames):
            noise = torch.rand(len(frames), 1, 48, 64, generator=torch.Generator().manual_seed(0))
            return super().__call__(frames) + 0.2 * noise

    def percent(text):
        return float(text.split("changes by ")[1].split(" %")[0])

    calm, nervous = surveyed(tmp_path / "a", film), surveyed(tmp_path / "b", film, Nervous())
    assert percent(steadiness(calm)) < 1 < percent(steadiness(nervous))
    assert shot_of(calm, 49) == 4


@pytest.mark.parametrize(("scale", "offset"), [(1, 0), (1e-3, 0), (2e5, 0), (1, 1000), (-3e4, 7e4)])
def test_raw_nearness_of_any_unit_keeps_its_shape(scale, offset):
    raw = (offset + scale * np.random.default_rng(0).random((9, 16))).astype(np.float32)
    with io.BytesIO() as file:
        for one in (raw, raw.T.copy()):
            write_raw(file, one)
        file.seek(0)
        found = [read_raw(file, shape) for shape in (raw.shape, raw.T.shape)]
    assert max(np.abs(found[0] - raw).max(), np.abs(found[1].T - raw).max()) <= 2e-5 * abs(scale) + 1e-7 * abs(offset)
