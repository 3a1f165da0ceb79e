import pytest

from tests.support.hostile.fuzzing import fuzz
from tests.support.hostile.fuzzing_others import NAMES, readers


@pytest.mark.parametrize("name", NAMES)
def test_a_reader_raises_nothing_but_a_users_error(name, tmp_path):
    fuzz(*readers(tmp_path)[name], 2000)
