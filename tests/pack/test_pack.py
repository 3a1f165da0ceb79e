import re

import numpy as np
import pytest
import torch
import webdataset

from pack import workers
from pack.shards.record import MASK_LEVELS
from pack.shards.shard import list_shards
from pack.sources import find_videos, share
from tests.support.media.films import Brightness, make_video, pack, records, refuse
from tools.cli.sizes import parse_size

pytestmark = pytest.mark.usefixtures("quick_depth")


@pytest.mark.slow
def test_stock_webdataset_reads_packed_shards(film, tmp_path):
    pack(tmp_path, "--video", film, "--prefix", "a")
    shard = list_shards(tmp_path)[0]
    samples = list(webdataset.WebDataset(str(shard.tar), shardshuffle=False).decode("rgb"))
    assert [sample["__key__"] for sample in samples] == [entry.key for entry in shard.records]
    assert len(samples) >= 4
    for sample, record in zip(samples, records(tmp_path), strict=True):
        assert sample["00_c.webp"].shape == (160, 160, 3) and sample["json"] == record.info
        assert set(np.unique(record.masks)) <= set(MASK_LEVELS) and record.masks.any()


def test_keys_are_numbered_as_in_iw3_odd_for_clips_and_even_for_mirrored_ones(film, tmp_path):
    pack(tmp_path, "--video", film, "--num-samples", "2", "--prefix", "p")
    for record in records(tmp_path):
        prefix, model, _, number, crop = record.key.split("_")
        assert (prefix, model) == ("p", "Motion") and crop in "01"
        assert int(number) == 2 * record.info["clip"] + 1 + record.info["mirrored"]


@pytest.mark.slow
def test_a_records_json_suffices_to_crop_its_frames_again(film, tmp_path):
    from pack.geometry import resize, rotate
    from pack.video.reader import read_frames

    pack(tmp_path, "--video", film)
    frames = np.stack(list(read_frames(film, 30)))
    kinds = set()
    for record in records(tmp_path):
        info = record.info
        clip = frames[info["start_frame"] : info["start_frame"] + 16]
        if info["rotation"] is not None:
            clip = rotate(clip, info["rotation"])
        clip = resize(clip, info["short_side"], info["interpolation"])
        assert [clip.shape[2], clip.shape[1]] == info["frame_size"]
        clip = clip[:, :, ::-1] if info["mirrored"] else clip
        (x, y), size = info["crop"], info["size"]
        assert np.array_equal(clip[:, y : y + size, x : x + size], record.frames)
        kinds.add((info["mirrored"], info["rotation"] is not None))
    assert len(kinds) == 4


def test_a_records_json_suffices_to_compute_its_holes_again(film, tmp_path):
    from model.morphology import mask_closing
    from pack.depth.models import normalise
    from pack.geometry import resize, rotate
    from pack.holes.forward import dilate_edge, nonwarp_mask
    from pack.holes.mappers import mapper
    from pack.pipeline import fit
    from pack.video.reader import read_frames

    pack(tmp_path, "--video", film)
    video = np.stack(list(read_frames(film, 30)))
    for record in records(tmp_path):
        info = record.info
        clip = video[info["start_frame"] : info["start_frame"] + 16]
        clip = clip if info["rotation"] is None else rotate(clip, info["rotation"])
        clip = torch.from_numpy(resize(clip, info["short_side"], info["interpolation"])).permute(0, 3, 1, 2) / 255
        depth = dilate_edge(normalise(Brightness()(clip)), info["edge_dilation"])
        depth = fit(mapper(info["mapper"])(depth), info["frame_size"][::-1])
        depth = depth.flip(-1) if info["mirrored"] else depth
        holes = mask_closing(nonwarp_mask(depth, info["divergence"], info["convergence"], info["view"]))
        (x, y), side = info["crop"], info["size"]
        expected = holes[:, 0, y : y + side, x : x + side].numpy()
        assert np.array_equal(np.array([0, 128, 255])[(expected * 2).astype(int)], record.masks)
        assert info["hole_share"] == pytest.approx(expected.mean(), abs=1e-6)


def test_depth_is_aligned_with_the_frames_also_when_mirrored():
    from pack.pipeline import fit

    ramp = (torch.arange(32.0) + 0.5).expand(1, 1, 18, 32) / 32  # at every pixel's middle, its x
    wide = fit(ramp, (90, 160))
    assert torch.allclose(wide[..., 5:-5], ((torch.arange(160.0) + 0.5) / 160)[5:-5].expand(1, 1, 90, -1), atol=1e-6)
    depth = torch.rand(1, 1, 18, 32, generator=torch.Generator().manual_seed(0))
    for size in ((90, 160), (9, 16)):
        assert torch.allclose(fit(depth.flip(-1), size), fit(depth, size).flip(-1), atol=1e-6)


def test_records_with_too_few_holes_are_left_out_and_counted(film, tmp_path):
    out = pack(tmp_path, "--video", film)
    assert all(record.masks.astype(float).sum() / 255 / 16 > 299 for record in records(tmp_path))
    still = make_video(tmp_path / "flat.mp4", 20)
    out = pack(tmp_path / "flat", "--video", still, "--divergence-level", "1", "--size", "12")  # fewer than 300 pixels
    assert "0 records from 1 clip," in out and "2 records left out for too few holes" in out
    assert "warning: no record has enough holes: pack videos with more depth" in out
    assert "packed before" in pack(tmp_path / "flat", "--video", still, "--divergence-level", "1", "--size", "12")


@pytest.mark.parametrize(
    ("fixed", "named"), [((), "--divergence-level"), (("--divergence", 1), "--divergence; in make film DIVERGENCE")]
)
def test_the_advice_for_too_few_holes_names_the_option_that_counts(tmp_path, fixed, named):
    still = make_video(tmp_path / "flat.mp4", 20)
    out = pack(tmp_path / "flat", "--video", still, "--size", "12", *fixed)
    advice = next(line for line in out.splitlines() if line.startswith("warning: no record has enough holes"))
    assert named in advice and ("--divergence-level" in advice) == (not fixed)


@pytest.mark.slow
def test_no_clip_contains_a_cut(clips, tmp_path):
    out = pack(tmp_path, "--video", clips / "bikes.mp4")
    assert int(re.search(r"(\d+) cuts?", out)[1]) >= 2
    starts = {record.info["start_frame"] for record in records(tmp_path)}
    assert not any(start < cut < start + 16 for start in starts for cut in (30, 137))


@pytest.mark.slow
def test_a_learned_mask_replaces_only_the_holes_of_clips_that_are_not_mirrored(film, tmp_path, monkeypatch):
    asked = []

    def hole_mask(network, depth, divergence, convergence, curve, size):
        asked.append((network, depth.shape[0], tuple(size)))
        mask = torch.zeros(depth.shape[0], 1, *size, dtype=torch.bool)
        mask[..., ::3] = True
        return mask

    monkeypatch.setattr("pack.pipeline.hole_mask", hole_mask)
    monkeypatch.setattr(workers, "load_mask_network", lambda path, device: "the network")
    weights = tmp_path / "mask.pth"
    weights.write_bytes(b"weights")
    pack(tmp_path / "plain", "--video", film)
    pack(tmp_path / "learned", "--video", film, "--mask-model", weights)
    plain = {record.key: record for record in records(tmp_path / "plain")}
    learned = {record.key: record for record in records(tmp_path / "learned")}
    assert asked[0][:2] == ("the network", 2) and len(asked) == 3 * 8
    for key, record in learned.items():
        if record.info["mirrored"]:
            assert np.array_equal(record.masks, plain[key].masks) and record.info == plain[key].info
        else:
            assert record.info["mask"] == "mask_mlbw" and abs(record.info["hole_share"] - 1 / 3) < 0.01
    weights.write_bytes(b"other weights")
    assert "mask_model is" in refuse(tmp_path / "learned", "--video", film, "--mask-model", weights)


def test_sizes_are_parsed_with_and_without_units():
    assert [parse_size("--x", text) for text in ("1GB", "1.5 MB", "2KiB", "77")] == [10**9, 1_500_000, 2048, 77]


def test_shares_contain_each_video_once_and_have_equal_sizes(tmp_path):
    sizes = [900, 500, 400, 300, 200, 100]
    for number, size in enumerate(sizes):
        (tmp_path / f"{number}.mp4").write_bytes(bytes(size))
    paths = find_videos([str(tmp_path)])
    for world in (1, 2, 4):
        shares = [share(paths, rank, world) for rank in range(world)]
        assert sorted(path for part in shares for path in part) == paths
        for part in shares:
            assert part == sorted(part, key=lambda path: -path.stat().st_size)
    assert {sum(path.stat().st_size for path in share(paths, rank, 2)) for rank in range(2)} == {1200}


def test_files_folders_and_globs_name_each_video_once(tmp_path):
    for name in ("a.mp4", "b.MKV", "notes.txt", "[x].webm"):
        (tmp_path / name).touch()
    found = find_videos([str(tmp_path), str(tmp_path / "*.mp4"), str(tmp_path / "a.mp4"), str(tmp_path / "[x].webm")])
    assert [path.name for path in found] == ["[x].webm", "a.mp4", "b.MKV"]
