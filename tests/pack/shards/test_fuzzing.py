import pytest

from tests.support.hostile.fuzzing import fuzz, readers

NAMES = sorted(readers(None))


@pytest.mark.parametrize("name", NAMES)
def test_a_reader_raises_nothing_but_its_own_error_and_never_returns_other_pixels(name, tmp_path):
    fuzz(*readers(tmp_path)[name], 2000)
