import pytest

from pack.holes.kinds import choose_kind, kind_of, parse_method, parse_shares
from tools.cli import UserError


def test_shares_sum_to_one_and_leave_out_what_has_none():
    assert parse_shares("--holes", "forward", False) == {"forward": 1}
    assert parse_shares("--holes", "mix", False) == {"forward": 0.5, "monobw": 0.5}
    assert parse_shares("--holes", "mix", True) == pytest.approx(dict.fromkeys(("forward", "mlbw", "monobw"), 1 / 3))
    assert parse_shares("--holes", "mix:monobw=3,forward=1", False) == {"forward": 0.25, "monobw": 0.75}
    assert parse_shares("--holes", "mix: monobw = 2, forward = 0", False) == {"monobw": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected forward, mlbw, monobw, mix"),
        ("backward", "expected forward, mlbw, monobw, mix"),
        ("forward=1", "expected forward, mlbw, monobw, mix"),
        ("mix:", "expected forward"),
        ("mix:forward", 'the share of forward is ""'),
        ("mix:forward=one", 'the share of forward is "one"'),
        ("mix:forward=nan", 'the share of forward is "nan"'),
        ("mix:forward=inf", 'the share of forward is "inf"'),
        ("mix:forward=1e308,monobw=1e308", "sum to inf"),
        ("mix:forward=0", "sum to 0"),
        ("mix:forward=1,forward=2", "names a kind twice"),
        ("mix:other=1", '"other" is not a kind of holes'),
        ("mix:mlbw=1,forward=1", "mlbw needs iw3's file"),
    ],
)
def test_mistakes_are_one_line(text, message):
    with pytest.raises(UserError, match="--holes") as error:
        parse_shares("--holes", text, False)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_numbers_choose_kinds_by_their_shares():
    shares = {"forward": 0.25, "monobw": 0.75}
    assert [choose_kind(shares, number) for number in (0, 0.2499, 0.25, 0.9999)] == ["forward"] * 2 + ["monobw"] * 2
    thirds = parse_shares("--holes", "mix", True)
    assert choose_kind(thirds, 1 - 2**-53) == "monobw"


def test_records_of_earlier_versions_have_forward_holes():
    assert [kind_of(info) for info in ({}, {"mask": "forward_warp"}, {"mask": "mask_mlbw"}, {"mask": "monobw"})] == [
        "forward",
        "forward",
        "mlbw",
        "monobw",
    ]


def test_a_method_has_our_name_or_that_of_iw3():
    names = {"forward": "forward_inpaint", "mlbw": "mlbw_l2_inpaint", "monobw": "monobw_inpaint"}
    for kind, iw3 in names.items():
        assert parse_method("--method", kind, True) == parse_method("--method", iw3, True) == kind
    assert parse_method("--method", "monobw_inpaint", False) == "monobw"
    for text in ("mlbw", "mlbw_l2_inpaint"):
        with pytest.raises(UserError, match=f"--method {text} needs iw3's file of the learned warp"):
            parse_method("--method", text, False)
    with pytest.raises(
        UserError, match="--method row: expected one of forward, mlbw, monobw, forward_inpaint, mlbw_l2"
    ):
        parse_method("--method", "row", True)
