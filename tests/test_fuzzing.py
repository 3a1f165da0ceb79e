import pytest

from tests.support.hostile import fuzzing_others, fuzzing_tools
from tests.support.hostile.fuzzing import fuzz


@pytest.mark.parametrize("name", fuzzing_others.NAMES)
def test_a_reader_raises_nothing_but_a_users_error(name, tmp_path):
    fuzz(*fuzzing_others.readers(tmp_path)[name], 2000)


@pytest.mark.parametrize("name", fuzzing_tools.NAMES)
def test_a_reader_of_depth_film_headers_or_working_folders_raises_nothing_but_a_users_error(name, tmp_path):
    fuzz(*fuzzing_tools.readers(tmp_path)[name], 500)
