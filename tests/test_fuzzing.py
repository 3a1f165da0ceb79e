import importlib.util

import pytest
from hypothesis import strategies as st

from tests.support.hostile import fuzzing_others, fuzzing_tools, run


@pytest.mark.parametrize("name", fuzzing_others.NAMES)
def test_a_reader_raises_nothing_but_a_users_error(name, tmp_path):
    run.fuzz(name, tmp_path, 2000)


@pytest.mark.parametrize("name", fuzzing_tools.NAMES)
def test_a_reader_of_depth_film_headers_or_working_folders_raises_nothing_but_a_users_error(name, tmp_path):
    run.fuzz(name, tmp_path, 500 if name in run.OF_OBJECTS else 2000)


def load_constants(folder):
    """Load a module full of constants, of which hypothesis draws as soon as it knows them."""
    path = folder / "loaded_by_another.py"
    path.write_text("".join(f"X{n} = {10**6 + n}\nY{n} = 'drawn {n}'\nZ{n} = b'drawn {n}'\n" for n in range(200)))
    spec = importlib.util.spec_from_file_location("loaded_by_another", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_hostile_inputs_depend_on_the_seed_and_on_nothing_that_is_loaded(tmp_path, monkeypatch):
    def note(data):
        with open(tmp_path / "inputs", "a") as file:
            print(repr(data), file=file)

    def given(seed):
        (tmp_path / "inputs").unlink(missing_ok=True)
        assert run.fuzz("x", tmp_path, 600, seed) == 600
        return (tmp_path / "inputs").read_text()

    monkeypatch.setattr(run, "readers", lambda _folder: {"x": (st.text() | st.binary(), note)})
    first, other = given(1), given(2)
    monkeypatch.setitem(run.sys.modules, "loaded_by_another", load_constants(tmp_path))
    assert first == given(1) != other


def test_a_reader_that_fails_names_the_command_that_repeats_it(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(run, "readers", lambda _folder: {"x": (st.just(b"a"), lambda data: 1 / len(data[1:]))})
    with pytest.raises(AssertionError, match=r"repeat it with: python tests/support/hostile/run\.py x 50 7 5$"):
        run.fuzz("x", tmp_path, 50, 7)
    assert "the input was b'a'" in capfd.readouterr().err
