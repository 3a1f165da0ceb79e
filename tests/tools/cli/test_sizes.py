import pytest

from tools.cli import UserError
from tools.cli.sizes import format_size, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1000000", 10**6),
        ("12B", 12),
        ("1K", 1000),
        ("1kb", 1000),
        ("500 MB", 500 * 10**6),
        ("1G", 10**9),
        ("1.5GB", 1_500_000_000),
        ("2GiB", 2 * 2**30),
        ("1TiB", 2**40),
        (" 3 MiB ", 3 * 2**20),
    ],
)
def test_prefixes_are_powers_of_1000_and_with_i_of_1024(text, size):
    assert parse_size("--max-shard-bytes", text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1", "1 QB", "1e9", "1iB", "1,000", "1GB2", "nan"])
def test_anything_else_is_refused_with_the_flags_name(text):
    with pytest.raises(UserError, match="--cache-bytes"):
        parse_size("--cache-bytes", text)


@pytest.mark.parametrize(("count", "text"), [(4e12, "4000.0 GB"), (1.54e9, "1.5 GB"), (23.4e6, "23 MB"), (900, "1 KB")])
def test_a_size_in_words_has_a_unit_in_which_it_is_not_zero(count, text):
    assert format_size(count) == text and parse_size("--size", text) >= 0.6 * count
