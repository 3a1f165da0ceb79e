import pytest

from tools.cli import UserError
from tools.cli.yaml_text import parse_yaml


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: [1\nb: {", "line 2, column 2: expected ',' or ']', but got ':'"),
        ("a: 1\n b: 2", "line 2, column 3: mapping values are not allowed here"),
        ("a: \0", "unacceptable character #x0000: special characters are not allowed, position 3"),
        ("a: &a [*a]", "a value contains itself"),
        ("a: !!int xx", "invalid literal for int() with base 10: 'xx'"),
    ],
)
def test_what_is_wrong_with_a_yaml_and_where_is_one_line(text, reason):
    with pytest.raises(UserError) as caught:
        parse_yaml(text)
    assert str(caught.value) == f"is not valid YAML ({reason})"
