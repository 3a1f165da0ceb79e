"""What the tests of copies share: a small dataset, and one whose tar has several parts."""

import pytest

from tests.support.copies import make_large
from tests.support.shards import make_data


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("transfer") / "data", records=4, frames=1, size=64)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    return make_large(tmp_path_factory.mktemp("large") / "data")
