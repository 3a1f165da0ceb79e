import pytest

from tests.support.hostile import run
from tests.support.hostile.fuzzing import readers


@pytest.mark.parametrize("name", sorted(readers(None)))
def test_a_reader_raises_nothing_but_its_own_error_and_never_returns_other_pixels(name, tmp_path):
    run.fuzz(name, tmp_path, 2000)
