import pytest
import torch

from model.checkpoint import create_network, describe, load_network, read_file, save_network, write_checkpoint
from model.light_video_inpaint import LightVideoInpaint
from tests.support.programs import refused, succeeds
from tools.export import main
from tools.lineage.__main__ import main as lineage
from train.checkpoints.state import Position, as_payload
from train.optimizers.ema import EMA

WEIGHT_FILE = ["nunif_model", "name", "updated_at", "kwargs", "train_kwargs", "state_dict"]


def network(seed=0, **kwargs):
    return LightVideoInpaint(**{"base_dim": 8, **kwargs}, generator=torch.Generator().manual_seed(seed))


def resume_file(net):
    """What iw3's training leaves besides weights."""
    return describe(net, {"lr": 1e-4}) | {
        "optimizer_state_dict": [{"state": {}, "param_groups": []}],
        "scheduler_state_dict": [],
        "grad_scaler_state_dict": [{}],
        "best_loss": 0.125,
        "last_epoch": 12,
    }


def our_file(net, **states):
    return resume_file(net) | {"backfill": as_payload(Position("20260101000000", 1), {}, **states)}


def same(path, weights):
    return all(torch.equal(weight, weights[name]) for name, weight in load_network(path).state_dict().items())


@pytest.fixture
def paths(tmp_path):
    return tmp_path / "a.checkpoint.pth", tmp_path / "out" / "a.pth"


def test_a_resume_file_becomes_the_weight_file_that_iw3_reads(paths):
    net = network()
    write_checkpoint(paths[0], resume_file(net))
    out = succeeds(main, "--checkpoint", paths[0], "-o", paths[1])
    payload = torch.load(paths[1], weights_only=True)
    assert list(payload) == WEIGHT_FILE
    assert payload["kwargs"] == net.kwargs and payload["train_kwargs"] == {"lr": 1e-4}
    assert same(paths[1], net.state_dict())
    assert "12 epochs trained, lowest evaluation 0.125" in out and "left out: optimizer_state_dict" in out


def test_the_exported_network_paints_the_same_picture(paths):
    net = network().eval()
    write_checkpoint(paths[0], resume_file(net))
    succeeds(main, "--checkpoint", paths[0], "-o", paths[1])
    frames = torch.rand(12, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    holes = (frames[:, :1] > 0.8).float()
    with torch.no_grad():
        assert torch.equal(load_network(paths[1])(frames, holes), net(frames, holes))


def test_the_weights_are_those_that_evaluation_saw_unless_asked_otherwise(paths):
    net, free = network(0), network(2).state_dict()
    average = EMA(network(1))
    average.update()
    cases = [  # what the checkpoint holds, what --ema and --no-ema give
        ({"ema": average.state_dict(), "averages": None}, average.weights),
        ({"ema": None, "averages": free}, free),
        ({"ema": average.state_dict(), "averages": free}, average.weights),
        ({"ema": EMA(net).state_dict(), "averages": None}, net.state_dict()),  # no average was taken yet
    ]
    for states, expected in cases:
        write_checkpoint(paths[0], our_file(net, **states))
        succeeds(main, "--checkpoint", paths[0], "-o", paths[1])
        assert same(paths[1], dict(expected)) and same(paths[0], dict(expected))  # evaluated as exported
        assert list(read_file(paths[1])) == WEIGHT_FILE
        assert "weights of the last step" in succeeds(main, "--checkpoint", paths[0], "-o", paths[1], "--no-ema")
        assert same(paths[1], net.state_dict())


def test_half_precision_halves_the_file_and_loads_as_float32(paths):
    net = network(base_dim=64)
    save_network(paths[0], net)
    succeeds(main, "--checkpoint", paths[0], "-o", paths[1], "--half")
    assert paths[1].stat().st_size < 0.55 * paths[0].stat().st_size
    assert {weight.dtype for weight in load_network(paths[1]).state_dict().values()} == {torch.float32}
    assert same(paths[1], {name: weight.half().float() for name, weight in net.state_dict().items()})


def test_a_larger_network_keeps_its_name(paths):
    name = "inpaint.light_video_inpaint_v1_medium"
    save_network(paths[0], create_network(name))
    assert f"{name}, " in succeeds(main, "--checkpoint", paths[0], "-o", paths[1])
    assert read_file(paths[1])["name"] == name


def test_the_same_checkpoint_gives_the_same_bytes(paths):
    write_checkpoint(paths[0], resume_file(network()))
    succeeds(main, "--checkpoint", paths[0], "-o", paths[1])
    first = paths[1].read_bytes()
    succeeds(main, "--checkpoint", paths[0], "-o", paths[1])
    assert paths[1].read_bytes() == first


def test_a_blend_has_the_shares_of_every_weight_and_the_films_of_every_network(paths, tmp_path):
    nets = [network(seed) for seed in (0, 1, 2)]
    files = [tmp_path / f"{name}.pth" for name in "abc"]
    for net, file in zip(nets, files, strict=True):
        sources = [{"video": f"{file.stem}.mp4", "records": 3, "holes": {"forward": 1.0}}, {"video": "all.mp4"}]
        write_checkpoint(file, describe(net, {"lr": 1, "lineage": {"dataset": file.stem, "sources": sources}}))
    out = succeeds(main, "--checkpoint", files[0], "-o", paths[1], "--blend", f"{files[1]}=0.25", f"{files[2]}=0.15")
    assert f"and 15 % of {files[2]}" in out
    weights = [net.state_dict() for net in nets]
    for name, found in load_network(paths[1]).state_dict().items():
        torch.testing.assert_close(found, 0.6 * weights[0][name] + 0.25 * weights[1][name] + 0.15 * weights[2][name])
    lines = succeeds(lineage, "--checkpoint", paths[1])
    assert all(lines.count(f"{name}.mp4") == 1 for name in ("a", "b", "c", "all"))
    assert "blended: 60 % of a.pth" in lines and "blended: 15 % of c.pth" in lines
    assert "random weights" not in lines and "does not say" not in lines


@pytest.mark.parametrize("words", [["b.pth"], ["b.pth=1.5"], ["b.pth=x"], ["=0.5"], ["b.pth=.2", "b.pth=.3"]])
def test_a_blend_without_a_share_between_0_and_1_is_refused(paths, words):
    assert "expected FILE=SHARE" in refused(main, "--checkpoint", "base", "-o", paths[1], "--blend", *words)


def test_a_blend_leaves_something_for_the_checkpoint_and_knows_one_architecture(paths, tmp_path):
    found = refused(main, "--checkpoint", "base", "-o", paths[1], "--blend", "b.pth=0.5", "c.pth=0.5")
    assert "nothing is left for --checkpoint" in found
    write_checkpoint(tmp_path / "small.pth", describe(network()))
    found = refused(main, "--checkpoint", "base", "-o", paths[1], "--blend", f"{tmp_path / 'small.pth'}=0.5")
    assert "architecture" in found and not paths[1].exists()


def test_a_checkpoint_is_never_overwritten_by_its_own_export(paths):
    write_checkpoint(paths[0], resume_file(network()))
    before = paths[0].read_bytes()
    assert "pass another -o" in refused(main, "--checkpoint", paths[0], "-o", paths[0])
    assert paths[0].read_bytes() == before


@pytest.mark.parametrize(("value", "half"), [(float("nan"), False), (float("inf"), False), (1e6, True)])
def test_weights_that_are_no_numbers_are_not_exported(paths, value, half):
    net = network()
    with torch.no_grad():
        net.mask_bias[0, 3] = value
    write_checkpoint(paths[0], resume_file(net))
    line = refused(main, "--checkpoint", paths[0], "-o", paths[1], "--half" if half else "--no-half")
    assert "mask_bias holds NaN or infinity" in line and "earlier checkpoint" in line
    assert not paths[1].exists()


def test_averages_that_are_no_numbers_are_refused_but_not_the_raw_weights_beside_them(paths):
    net, broken = network(), {name: weight * float("nan") for name, weight in network().state_dict().items()}
    write_checkpoint(paths[0], our_file(net, ema=None, averages=broken))
    assert "holds NaN or infinity" in refused(main, "--checkpoint", paths[0], "-o", paths[1])
    succeeds(main, "--checkpoint", paths[0], "-o", paths[1], "--no-ema")
    assert same(paths[1], net.state_dict())


def test_what_is_no_network_is_one_line_and_no_file(paths):
    assert "no such file" in refused(main, "--checkpoint", paths[0], "-o", paths[1])
    paths[0].write_bytes(b"")
    assert "is not a checkpoint" in refused(main, "--checkpoint", paths[0], "-o", paths[1])
    write_checkpoint(paths[0], {"nunif_model": 1, "name": "waifu2x.cunet", "state_dict": {}})
    assert "holds 'waifu2x.cunet'" in refused(main, "--checkpoint", paths[0], "-o", paths[1])
    assert not paths[1].parent.exists()


@pytest.mark.parametrize(
    "odd", [{"best_loss": "x"}, {"last_epoch": "\x1b[31m"}, {"backfill": [1]}, {"backfill": {"ema": [1]}}, {5: 1}]
)
def test_odd_values_beside_the_weights_do_not_hinder_an_export(paths, odd):
    write_checkpoint(paths[0], resume_file(network()) | odd)
    out = succeeds(main, "--checkpoint", paths[0], "-o", paths[1])
    assert "\x1b" not in out and same(paths[1], network().state_dict())
