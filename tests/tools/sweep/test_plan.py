"""Which trainings a sweep file asks for."""

import pytest

from tests.support.programs import refused, succeeds
from tools.cli import UserError
from tools.sweep.__main__ import main
from tools.sweep.plan import read_sweep


def sweep_file(folder, text):
    path = folder / "my sweep.toml"
    path.write_text(text)
    return str(path)


def test_a_grid_is_every_combination_named_by_its_values(tmp_path):
    text = '[flags]\nmax-epoch = 6\n[grid]\nlearning-rate = [1e-4, 3e-4]\nloss = ["l1lpips", "hole_l1"]\n'
    sweep = read_sweep(sweep_file(tmp_path, text))
    names = [run.name for run in sweep.runs]
    assert names[0] == "learning-rate=0.0001,loss=l1lpips" and len(set(names)) == 4
    assert {(run.config.learning_rate, run.config.loss) for run in sweep.runs} == {
        (rate, loss) for rate in (1e-4, 3e-4) for loss in ("l1lpips", "hole_l1")
    }
    assert {run.config.max_epoch for run in sweep.runs} == {6}
    assert all(run.config.model_dir == str(sweep.out / run.name) for run in sweep.runs)


def test_all_runs_have_the_same_seed(tmp_path):
    sweep = read_sweep(sweep_file(tmp_path, "[grid]\nmax_epoch = [5, 6]\n"))
    assert {run.config.seed for run in sweep.runs} == {0}
    assert read_sweep(sweep_file(tmp_path, "[grid]\nseed = [3, 4]\n")).runs[1].config.seed == 4


def test_listed_runs_add_to_the_shared_flags(tmp_path):
    text = '[flags]\ntile = 64\n[[runs]]\nname = "plain"\n[[runs]]\nname = "large"\ntile = 128\n'
    sweep = read_sweep(sweep_file(tmp_path, text))
    assert [(run.name, run.config.tile) for run in sweep.runs] == [("plain", 64), ("large", 128)]


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "0 runs"),
        ("[grid]\nmax-epoch = 5\n", "expected a list"),
        ("[grid]\nmax-epochs = [5]\n", "unknown key max-epochs"),
        ("[grid]\nmax-epoch = ['many']\n", "max-epoch"),
        ("[grid]\ntile = [63]\n", "run tile=63: --tile 63"),
        ("[grid]\nmodel-dir = ['a', 'b']\n", "unknown key model-dir"),
        ("[grid]\nmax-epoch = [5, 5]\n", "two runs are called max-epoch=5"),
        ("[[runs]]\nname = '../x'\n", "a run called '../x'"),
        ("[[runs]]\nname = '..'\n", "a run called '..'"),
        ("[[runs]]\nname = 'a'\n[[runs]]\nname = 'a.toml'\n", "a run called a.toml, as the settings of another"),
        ("[[runs]]\nname = 'evaluation.toml'\n", "a run called evaluation.toml, as the settings"),
        ("processes = 0\n[grid]\nseed = [1]\n", "processes = 0"),
        ("out = 3\n[grid]\nseed = [1]\n", "out = 3"),
        ("[evaluate]\ntile = 3\n[grid]\nseed = [1]\n", "[evaluate]: --tile 3"),
        ("[evaluate]\ncheckpoint = ['x']\n[grid]\nseed = [1]\n", "unknown key checkpoint"),
        ("[gird]\nseed = [1]\n", "unknown key gird"),
        ("[grid\n", "not valid TOML"),
        ("[grid]\nseed = [" + "1," * 1001 + "]\n", "expected 1 to 1000"),
    ],
)
def test_a_mistake_in_the_file_is_one_line(text, words, tmp_path):
    with pytest.raises(UserError) as error:
        read_sweep(sweep_file(tmp_path, text))
    assert words in str(error.value) and "\n" not in str(error.value) and "my sweep.toml" in str(error.value)


def test_a_dry_run_lists_the_runs_and_writes_nothing(tmp_path):
    path = sweep_file(tmp_path, f'out = "{tmp_path}/out"\n[grid]\nseed = [1, 2]\n')
    listed = succeeds(main, "--sweep", path, "--dry-run")
    assert "0: seed=1\n1: seed=2\n" in listed and not (tmp_path / "out").exists()
    assert "numbered from 0" in refused(main, "--sweep", path, "--run", 2)
    assert "cannot be read" in refused(main, "--sweep", tmp_path / "none.toml")


def test_a_grid_beyond_all_measure_is_refused_before_it_is_made(tmp_path):
    grid = "".join(f"{flag} = {list(range(5, 105))}\n" for flag in ("max-epoch", "eval-step", "seed", "tile", "frames"))
    with pytest.raises(UserError, match="10000000000 combinations, expected 1 to 1000"):
        read_sweep(sweep_file(tmp_path, f"[grid]\n{grid}"))


def test_no_run_takes_the_place_of_the_comparison(tmp_path):
    with pytest.raises(UserError, match="a run called evaluation"):
        read_sweep(sweep_file(tmp_path, '[[runs]]\nname = "evaluation"\n'))
