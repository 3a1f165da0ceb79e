import numpy as np
import pytest
import torch

from model.mask_mlbw import hole_mask
from model.morphology import mask_closing
from pack.depth.models import normalise
from pack.geometry import resize, rotate
from pack.holes.forward import dilate_edge
from pack.holes.kinds import kind_of, parse_shares
from pack.holes.mappers import mapper
from pack.holes.monobw import moved_holes
from pack.sampling import draw_kinds
from pack.shards.shard import list_shards
from pack.video.reader import read_frames
from tests.model.test_mask_mlbw import golden_network, write_network
from tests.support.media.films import Brightness, digests, pack, records, refuse

pytestmark = pytest.mark.usefixtures("quick_depth")


def depth_of(info, video):  # -> (16 1 h w), mapped, mirrored where the record is
    clip = video[info["start_frame"] : info["start_frame"] + 16]
    clip = clip if info["rotation"] is None else rotate(clip, info["rotation"])
    clip = torch.from_numpy(resize(clip, info["short_side"], info["interpolation"])).permute(0, 3, 1, 2) / 255
    depth = dilate_edge(normalise(Brightness()(clip)), info["edge_dilation"])
    return depth.flip(-1) if info["mirrored"] else depth


def holes_again(info, video):  # -> uint8 (16 S S)
    """The masks of a record of kind monobw or mlbw, from its JSON."""
    depth, curve = depth_of(info, video), mapper(info["mapper"])
    size, scale = tuple(info["frame_size"][::-1]), (info["divergence"], info["convergence"])
    if info["mask"] == "monobw":
        holes = mask_closing(moved_holes(curve(depth), size, *scale).float())
    else:
        parts = depth.split(2)
        holes = torch.cat([hole_mask(golden_network(), part, *scale, curve, size) for part in parts]).float()
    (x, y), side = info["crop"], info["size"]
    assert info["depth_size"] == list(depth.shape[:1:-1])
    return 255 * holes[:, 0, y : y + side, x : x + side].numpy().astype(np.uint8)


def test_a_records_json_suffices_to_compute_its_monobw_holes_again(film, tmp_path):
    pack(tmp_path, "--video", film, "--holes", "monobw")
    video = np.stack(list(read_frames(film, 30)))
    found = records(tmp_path)
    assert {record.info["mirrored"] for record in found} == {False, True}
    for record in found:
        assert record.info["mask"] == "monobw" and record.masks.any()
        assert np.array_equal(holes_again(record.info, video), record.masks)


@pytest.mark.slow
def test_the_learned_warp_makes_the_holes_of_mirrored_clips_too_where_it_is_asked_for(short_films, tmp_path):
    film = short_films / "short0.mp4"
    weights = write_network(tmp_path / "mask.pth")
    pack(tmp_path / "out", "--video", film, "--holes", "mlbw", "--mask-model", weights)
    video = np.stack(list(read_frames(film, 30)))
    found = records(tmp_path / "out")
    assert {record.info["mirrored"] for record in found} == {False, True}
    for record in found:
        assert record.info["mask"] == "mask_mlbw" and np.array_equal(holes_again(record.info, video), record.masks)


def test_a_mixture_draws_a_kind_for_each_clip_and_for_its_mirror_image(film, tmp_path):
    pack(tmp_path / "mix", "--video", film, "--holes", "mix:forward=1,monobw=2")
    pack(tmp_path / "forward", "--video", film, "--holes", "forward")
    mixed = {record.key: record for record in records(tmp_path / "mix")}
    plain = {record.key: record for record in records(tmp_path / "forward")}
    assert {kind_of(record.info) for record in mixed.values()} == {"forward", "monobw"}
    others = ("mask", "crop", "hole_share")
    for key in mixed.keys() & plain.keys():
        one, other = mixed[key].info, plain[key].info
        assert {k: v for k, v in one.items() if k not in others} == {k: v for k, v in other.items() if k not in others}
        if kind_of(one) == "forward":
            assert one == other and np.array_equal(mixed[key].masks, plain[key].masks)


def test_forward_holes_are_those_of_the_default_and_the_default_says_nothing_new(film, tmp_path):
    pack(tmp_path / "default", "--video", film)
    pack(tmp_path / "forward", "--video", film, "--holes", "forward")
    (index,) = list_shards(tmp_path / "default")
    assert "holes" not in index.config
    for one, other in zip(records(tmp_path / "default"), records(tmp_path / "forward"), strict=True):
        assert one.info == {name: value for name, value in other.info.items() if name != "depth_size"}
        assert np.array_equal(one.masks, other.masks) and np.array_equal(one.frames, other.frames)
        assert kind_of(one.info) == "forward"


def test_the_same_kinds_give_the_same_bytes_and_other_kinds_are_refused(film, tmp_path):
    for name in "ab":
        pack(tmp_path / name, "--video", film, "--holes", "mix")
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert 'holes is null, was {"forward": 0.5, "monobw": 0.5}' in refuse(tmp_path / "a", "--video", film)
    assert "packed before" in pack(tmp_path / "a", "--video", film, "--holes", "mix:monobw=1,forward=1")


def test_records_whose_holes_are_crossed_are_left_out_where_it_is_asked_and_counted(film, tmp_path, monkeypatch):
    monkeypatch.setattr("pack.pipeline.crossed_share", lambda frames, holes: holes.mean())  # the film's are all aligned
    pack(tmp_path / "all", "--video", film)
    shares = {record.key: (record.masks > 0).mean() for record in records(tmp_path / "all")}
    most = np.median(list(shares.values()))
    out = pack(tmp_path / "some", "--video", film, "--max-crossed", most)
    kept = {record.key: record for record in records(tmp_path / "some")}
    assert kept.keys() == {key for key, share in shares.items() if share <= most} and 0 < len(kept) < len(shares)
    assert all(record.info["crossed_share"] == round(shares[key], 6) for key, record in kept.items())
    assert "left out for too few holes or crossed ones" in out
    assert all("crossed_share" not in record.info for record in records(tmp_path / "all"))
    assert "max_crossed is 1.0, was" in refuse(tmp_path / "some", "--video", film)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--holes", "backward"), "--holes backward: expected forward, mlbw, monobw, mix"),
        (("--max-crossed", "1.5"), "--max-crossed 1.5: expected a share from 0 to 1, such as 0.1"),
        (("--holes", "mix:forward=x"), 'the share of forward is "x"'),
        (("--holes", "mix:forward=0"), "sum to 0"),
        (("--holes", "mlbw"), "mlbw needs iw3's file of the learned warp: pass it with --mask-model"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_written(words, message, film, tmp_path):
    assert message in refuse(tmp_path, "--video", film, *words)
    assert not list(tmp_path.iterdir())


def test_kinds_have_their_shares_and_do_not_depend_on_each_other():
    shares = parse_shares("--holes", "mix:forward=1,monobw=3", False)
    kinds = [draw_kinds(71, "ab", clip, shares, False) for clip in range(2000)]
    for mirrored in range(2):
        assert np.mean([pair[mirrored] == "monobw" for pair in kinds]) == pytest.approx(0.75, abs=0.04)
    assert np.mean([one == other for one, other in kinds]) == pytest.approx(0.75**2 + 0.25**2, abs=0.045)
    assert draw_kinds(71, "ab", 0, None, False) == ("forward", "forward")
    assert draw_kinds(71, "ab", 0, None, True) == ("mlbw", "forward")
