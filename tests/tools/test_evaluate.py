import base64
import csv
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from model.checkpoint import save_network
from model.light_video_inpaint import LightVideoInpaint
from pack.shards.record import encode
from pack.shards.shard import ShardWriter, list_shards
from tests.support.programs import refused, run_program, succeeds
from tests.support.shards import make_split, texture_record
from tests.support.training.reference import filled
from tools.evaluate import main
from tools.evaluation import clips as evaluated
from tools.evaluation import network_fill
from tools.evaluation.baselines import BASELINES
from tools.evaluation.clips import holes_by_width, read_clip
from tools.evaluation.methods import Method, network_method
from tools.evaluation.network_fill import SharedEncoder
from tools.evaluation.report import write_report
from tools.evaluation.summary import Rows
from train.data.records import Records
from train.data.samples import Samples
from train.evaluation.evaluate import measure as measure_in_training
from train.evaluation.evaluate import trim
from train.objectives.loss import create_loss

SMALL = ("--tile", 80, "--device", "cpu", "--pictures", 1)


def tiny_network(seed=0):
    return LightVideoInpaint(base_dim=16, generator=torch.Generator().manual_seed(seed)).eval()


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    return make_split(tmp_path_factory.mktemp("split"), records=3)


@pytest.fixture(scope="module")
def outcome(split, tmp_path_factory):
    """The folder of an evaluation of two checkpoints, and what was printed."""
    folder = tmp_path_factory.mktemp("evaluation")
    for name in ("a", "b"):
        save_network(folder / f"{name}.pth", tiny_network(ord(name)))
    words = ("--checkpoint", folder / "a.pth", folder / "b.pth", "-i", split, "-o", folder, *SMALL)
    return folder, succeeds(main, *words)


def write_record(folder, record):
    with ShardWriter(folder / "s.tar") as writer:
        if record:
            writer.add(record.key, encode(record, "png"))
        writer.publish({"video": "v"}, {})
    return folder


def places(folder):
    return [(shard, entry) for shard in list_shards(folder) for entry in shard.records]


# a measure here and its name in training
IN_HOLES = [(f"hole_{name}", f"masked_{name}") for name in ("psnr", "ssim", "mae", "tde")]


@pytest.mark.slow
def test_a_network_gets_the_same_numbers_as_in_the_evaluation_of_training(outcome, split):
    found = json.loads((outcome[0] / "metrics.json").read_text())["methods"]["a"]["means"]
    samples = Samples(Records(list_shards(split)), 12, 80)
    criterion, network = create_loss("temporal_l1"), tiny_network(ord("a"))
    theirs = [measure_in_training(network, criterion, samples[0, n, n], "cpu")[0] for n in range(3)]
    for ours, name in [("psnr", "psnr"), *IN_HOLES]:
        assert found[ours]["mean"] == pytest.approx(sum(row[name] for row in theirs) / 3, rel=1e-5)


@pytest.mark.slow
def test_training_logs_the_same_numbers_for_the_baselines(outcome, split):
    found = json.loads((outcome[0] / "metrics.json").read_text())["methods"]
    samples = Samples(Records(list_shards(split)), 12, 80)
    theirs = [
        measure_in_training(tiny_network(), create_loss("temporal_l1"), samples[0, n, n], "cpu")[0] for n in range(3)
    ]
    for ours, fill in (("replicate", "replicate"), ("nearest-frame", "nearest_frame")):
        for measure, name in IN_HOLES:
            mean = sum(row[f"{name}_{fill}"] for row in theirs) / 3
            assert found[ours]["means"][measure]["mean"] == pytest.approx(mean, rel=1e-5)


def test_streaming_measures_the_same_frames_with_three_of_context(split):
    network = filled(tiny_network())
    clip = read_clip(*places(split)[0], 96, torch.device("cpu"))
    rows = Rows({"now": [], "stream": []})
    ways = [network_method("now", "network", network), network_method("stream", "stream", network)]
    outputs = evaluated.measure_clip(clip, ways, None, rows)
    masked = clip.frames.masked_fill(clip.holes, 0)
    near(outputs["stream"], trim(network.infer(masked, clip.holes)[2:14]))
    near(outputs["now"], trim(network.infer(masked[2:14], clip.holes[2:14])))
    assert (outputs["stream"] - outputs["now"]).abs().max() > 1e-3


NAMES = ("network", "stream")


def near(found, expected):
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("half", [False, True])
def test_methods_of_a_network_share_encoded_frames_and_fill_as_each_does_alone(split, half, monkeypatch):
    monkeypatch.setattr(network_fill, "has_bf16", lambda device: True)
    encoded = []
    network = filled(tiny_network())
    original = network.encode
    monkeypatch.setattr(network, "encode", lambda x, mask: encoded.extend(x) or original(x, mask))

    def fills(*encoders):
        """What both methods make of two clips, in turn."""
        ways = [network_method(name, name, encoder, half) for name, encoder in zip(NAMES, encoders, strict=True)]
        clips = [read_clip(*place, 96, torch.device("cpu")) for place in places(split)[:2]]
        outputs = [evaluated.measure_clip(clip, ways, None, Rows({name: [] for name in NAMES})) for clip in clips]
        return [found[name] for found in outputs for name in NAMES]

    shared = SharedEncoder(network)
    together = fills(shared, shared)
    assert len(encoded) == 2 * 16 and shared.reused_seconds > 0
    encoded.clear()
    alone = fills(SharedEncoder(network), SharedEncoder(network))
    assert len(encoded) == 2 * (12 + 16)
    for ours, theirs in zip(together, alone, strict=True):
        near(ours, theirs)


def test_twelve_frames_are_measured_but_not_streamed(tmp_path):
    write_record(tmp_path, texture_record(0, frames=12))
    save_network(tmp_path / "a.pth", tiny_network())
    out = succeeds(main, "--checkpoint", tmp_path / "a.pth", "-i", tmp_path, "-o", tmp_path, *SMALL)
    found = json.loads((tmp_path / "metrics.json").read_text())["methods"]
    assert found["a"]["means"]["hole_psnr"]["clips"] == 1 and found["a streamed"]["ms_per_frame"] is None
    assert re.search(r"a streamed +–", out)
    assert "note: a streamed: 1 of 1 clip is left out of its means, because of too few frames: " in out
    assert found["a streamed"]["broken_clips"] == 0


def test_clips_where_a_method_gives_nan_are_counted_named_and_not_taken_for_clips_without_a_measure(split, tmp_path):
    calls = iter(range(100))

    def broken_once(frames, holes):
        return frames * (float("nan") if next(calls) == 1 else 1)

    rows, ways = Rows({"m": [], "whole": []}), [Method("m", "one frame", broken_once)]
    ways.append(Method("whole", "one frame", lambda frames, holes: frames))
    for place in places(split):
        evaluated.measure_clip(read_clip(*place, 80, torch.device("cpu")), ways, None, rows)
    assert rows.mean("m", "hole_psnr").clips == 2 and rows.mean("whole", "hole_psnr").clips == 3
    assert rows.iw3("m")["psnr"] > 0
    key = places(split)[1][1].key
    lines = rows.left_out()
    assert lines == [f"m: 1 of 3 clips is left out of its means, because of output that is not finite: {key}"]
    write_report(tmp_path, rows, ways, [], lines, {"data": "d"})
    assert json.loads((tmp_path / "metrics.json").read_text())["methods"]["m"]["broken_clips"] == 1
    assert lines[0] in (tmp_path / "report.html").read_text()


@pytest.mark.slow
def test_the_report_is_one_page_with_plots_and_pictures_and_no_link(outcome):
    page = (outcome[0] / "report.html").read_text()
    tags = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: tags.append((tag, dict(attributes)))
    parser.feed(page)
    images = [attributes["src"] for tag, attributes in tags if tag == "img"]
    assert len(images) == 2 + 5 + len(BASELINES)  # holes, truth, two networks twice, untrained, simple fills
    assert all(base64.b64decode(src.removeprefix("data:image/webp;base64,"))[8:12] == b"WEBP" for src in images)
    assert sum(tag == "svg" for tag, _ in tags) == 2
    assert not {"script", "link", "iframe"} & {tag for tag, _ in tags}
    assert "nan" not in re.sub("data:image[^']*", "", page)


@pytest.mark.slow
def test_table_csv_and_json_agree(outcome):
    folder, out = outcome
    found = json.loads((folder / "metrics.json").read_text())
    with open(folder / "metrics.csv") as file:
        lines = {(line["method"], line["measure"]): line for line in csv.DictReader(file)}
    assert set(found["methods"]) == {"a", "a streamed", "b", "b streamed", "untrained", *BASELINES}
    for name, method in found["methods"].items():
        mean = method["means"]["hole_psnr"]
        assert float(lines[name, "hole_psnr"]["mean"]) == pytest.approx(mean["mean"], rel=1e-5)
        assert re.search(rf"(?m)^{name} +{mean['mean']:.2f} \[{mean['low']:.2f}, {mean['high']:.2f}\]", out)
        by_clip = [clip["measures"][name]["hole_psnr"] for clip in found["clips"]]
        assert mean["mean"] == pytest.approx(np.mean(by_clip))
    against = found["methods"]["a"]["against_best_baseline"]["hole_psnr"]["best simple fill"]
    best = max(BASELINES, key=lambda name: found["methods"][name]["means"]["hole_psnr"]["mean"])
    assert against["baseline"] == best
    means = [found["methods"][name]["means"]["hole_psnr"]["mean"] for name in ("a", best)]
    assert against["mean"] == pytest.approx(means[0] - means[1])
    table = out.partition("difference in PSNR in holes, dB, from\n")[2].splitlines()
    assert f" {best}, the best baseline" in table[0]
    assert re.match(rf"a +{against['mean']:+.2f} \[", table[1])


@pytest.mark.slow
def test_checkpoints_are_compared_with_the_first_one_clip_by_clip_and_by_hole_width(outcome):
    folder, out = outcome
    found = json.loads((folder / "metrics.json").read_text())
    for name, first in (("b", "a"), ("b streamed", "a streamed")):
        against = found["methods"][name]["against_first_checkpoint"]
        assert against["checkpoint"] == first
        for measure in ("hole_psnr", "hole_ssim", "hole_mae", "hole_tde"):
            for which in ("", " of 8-32", " of over 64"):
                pairs = [[c["measures"][m].get(measure + which) for m in (name, first)] for c in found["clips"]]
                gaps = [ours - theirs for ours, theirs in pairs if ours is not None and theirs is not None]
                assert against[measure + which]["clips"] == len(gaps)
                if gaps:
                    assert against[measure + which]["mean"] == pytest.approx(np.mean(gaps), abs=1e-12)
        gap = against["hole_psnr"]["mean"]
        table = out.partition("by width of the hole, and in TDE\n")[2].splitlines()
        column = re.split(r" {2,}", table[0]).index(f"{name} against {first}")
        assert re.split(r" {2,}", table[1])[column].startswith(f"{gap:+.2f} [")
        assert [line.split("  ")[0] for line in table[2:7]] == ["0-8", "8-32", "32-64", "over 64", "TDE, all"]
        assert f"<h3>{name} against {first}</h3>" in (folder / "report.html").read_text()
    others = [name for name in found["methods"] if not name.startswith("b")]
    assert all(found["methods"][name]["against_first_checkpoint"] == {} for name in others)


@pytest.mark.slow
def test_widths_motions_and_videos_have_every_measure_in_holes(outcome):
    found = json.loads((outcome[0] / "metrics.json").read_text())
    motion, video = ({clip[kind] for clip in found["clips"]}.pop() for kind in ("motion", "video"))
    widths = {name.partition(" of ")[2] for clip in found["clips"] for name in clip["measures"]["a"] if " of " in name}
    page, lines = (outcome[0] / "report.html").read_text(), (outcome[0] / "metrics.csv").read_text()
    for measure, title in (
        ("hole_psnr", "PSNR in holes, dB ↑"),
        ("hole_ssim", "SSIM in holes ↑"),
        ("hole_mae", "MAE in holes ↓"),
        ("hole_tde", "temporal difference error in holes ↓"),
    ):
        for group in (*widths, f"motion {motion}", f"video {video}", "placement aligned"):
            assert found["methods"]["a"]["means"][f"{measure} of {group}"]["clips"] > 0
            assert f"\na,{measure} of {group}," in lines
        assert page.count(f"<h3>{title}</h3>") == 4  # by width, placement, motion and video


@pytest.mark.slow
def test_the_same_command_finds_the_same_numbers(outcome, split, tmp_path):
    first = json.loads((outcome[0] / "metrics.json").read_text())
    checkpoint = outcome[0] / "a.pth"
    succeeds(main, "--checkpoint", checkpoint, "-i", split, "-o", tmp_path, "--baselines", "replicate", *SMALL)
    second = json.loads((tmp_path / "metrics.json").read_text())
    for name in ("a", "untrained", "replicate"):
        assert second["methods"][name]["means"] == first["methods"][name]["means"]


@pytest.mark.slow
def test_any_number_of_processes_finds_the_same_and_the_costs_of_every_method(outcome, split, tmp_path):
    words = ("--checkpoint", outcome[0] / "a.pth", "-i", split, "--baselines", "replicate", "telea", *SMALL)
    found = {}
    for workers in (1, 2):
        succeeds(main, *words, "-o", tmp_path / str(workers), "--workers", workers)
        found[workers] = json.loads((tmp_path / str(workers) / "metrics.json").read_text())
    for name, method in found[2]["methods"].items():
        assert method["ms_per_frame"] > 0 and method["peak_memory_bytes"] is not None
        assert method["means"]["hole_psnr"]["mean"] == pytest.approx(
            found[1]["methods"][name]["means"]["hole_psnr"]["mean"], abs=1e-4
        )
    assert [clip["key"] for clip in found[1]["clips"]] == [clip["key"] for clip in found[2]["clips"]]
    assert (tmp_path / "2" / "report.html").read_text().count("<img") == (
        tmp_path / "1" / "report.html"
    ).read_text().count("<img")


@pytest.mark.slow
def test_a_network_in_bf16_finds_nearly_the_same(outcome, split, tmp_path, monkeypatch):
    monkeypatch.setattr(network_fill, "has_bf16", lambda device: True)
    words = ("--checkpoint", outcome[0] / "a.pth", "-i", split, "-o", tmp_path, "--baselines", "none", *SMALL)
    succeeds(main, *words, "--amp-float", "auto")
    half, full = (json.loads((folder / "metrics.json").read_text())["methods"] for folder in (tmp_path, outcome[0]))
    for name in ("a", "a streamed"):
        apart = half[name]["means"]["hole_psnr"]["mean"] - full[name]["means"]["hole_psnr"]["mean"]
        assert 0 < abs(apart) < 0.1


def test_hole_pixels_are_classified_by_width_at_1080p(tmp_path):
    record = texture_record(0)
    masks = np.zeros_like(record.masks)
    masks[:, 40:80, 40:50] = masks[:, 40:80, 60:64] = 255  # 10 and 4 pixels: 30 and 12 at three times the size
    info = {"frame_size": [640, 360]}
    clip = read_clip(*places(write_record(tmp_path, replace(record, masks=masks, info=info)))[0], 128, "cpu")
    assert clip.scale == 3
    assert {name: int(where.sum()) for name, where in holes_by_width(clip.widths).items()} == {"8-32": 12 * 40 * 14}
    assert sorted(clip.widths.unique().tolist()) == [0, 12, 30]


def test_an_empty_split_is_one_line(tmp_path):
    assert "holds no shard" in refused(main, "-i", tmp_path, "-o", tmp_path / "o")
    assert "hold no record" in refused(main, "-i", write_record(tmp_path, None), "-o", tmp_path / "o")
    assert not (tmp_path / "o").exists()


def test_a_record_without_a_hole_is_left_out_and_named(tmp_path, split):
    record = texture_record(0)
    whole = write_record(tmp_path, replace(record, key="whole_0_0", masks=np.zeros_like(record.masks)))
    assert "whole_0_0 is left out: it has no hole" in read_clip(*places(whole)[0], 96, "cpu")
    status, _, err = run_program(main, "-i", tmp_path, "-o", tmp_path / "o", *SMALL, "--baselines", "empty")
    assert status == 2 and "error: " in err and "whole_0_0" in err and "Traceback" not in err


def test_a_damaged_record_is_left_out_and_named(tmp_path):
    make_split(tmp_path, records=2, shards=1)
    (index,) = list_shards(tmp_path)
    data = bytearray(index.tar.read_bytes())
    data[index.records[0].offset + 2000] ^= 255
    index.tar.write_bytes(data)
    found = read_clip(*places(tmp_path)[0], 96, "cpu")
    assert found.startswith(f"{index.records[0].key} is left out") and "crc32" in found


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--baselines", "best"), "expected all, none or names from"),
        (("--tile", 999), "tile 999 does not fit"),
        (("--checkpoint", "nowhere.pth"), "nowhere.pth"),
        (("--records", -1), "--records"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, split, words, said):
    assert said in refused(main, "-i", split, "-o", tmp_path / "o", *words)


def test_a_checkpoint_of_another_kind_is_one_line(tmp_path, split):
    torch.save({"nunif_model": 1, "name": "waifu2x.swin", "kwargs": {}, "state_dict": {}}, tmp_path / "w.pth")
    words = ("--checkpoint", tmp_path / "w.pth", "-i", split, "-o", tmp_path / "o")
    assert "waifu2x.swin" in refused(main, *words)


@pytest.mark.slow
def test_missing_weights_of_a_measure_are_noted(outcome, tmp_path, split):
    words = ("-i", split, "-o", tmp_path, *SMALL, "--baselines", "empty", "--records", 1, "--weights-dir", tmp_path)
    assert "note: LPIPS is left out: the weights of its AlexNet are missing: download https://" in succeeds(
        main, *words
    )
    assert "LPIPS is left out" in (tmp_path / "report.html").read_text()


def test_kinds_of_holes_stand_beside_each_other_where_a_split_has_several(tmp_path):
    with ShardWriter(tmp_path / "s.tar") as writer:
        for number, mask in enumerate(("monobw", "forward_warp", "monobw", None)):
            record = texture_record(number)
            record.info.update({"mask": mask} if mask else {})
            writer.add(record.key, encode(record, "png"))
        writer.publish({"video": "v"}, {})
    words = ("-i", tmp_path, "-o", tmp_path / "out", "--baselines", "replicate", *SMALL)
    out = succeeds(main, *words)
    found = json.loads((tmp_path / "out/metrics.json").read_text())
    assert [clip["kind"] for clip in found["clips"]] == ["monobw", "forward", "monobw", "forward"]
    for kind in ("forward", "monobw"):
        values = [c["measures"]["replicate"]["hole_psnr"] for c in found["clips"] if c["kind"] == kind]
        mean = found["methods"]["replicate"]["means"][f"hole_psnr of kind {kind}"]
        assert mean["mean"] == pytest.approx(np.mean(values)) and mean["clips"] == 2
    assert re.search(r"PSNR in holes by kind of holes\nmethod +forward +monobw\n", out)
    assert "<h2>By kind of holes</h2>" in (tmp_path / "out/report.html").read_text()


def test_clips_whose_holes_edges_cross_are_told_from_aligned_ones(tmp_path):
    with ShardWriter(tmp_path / "s.tar") as writer:
        for number, edge in enumerate((56, 64, 80)):  # at the end of the hole, inside of it, beside it
            record = texture_record(number)
            record.masks[:] = 0
            record.masks[:, 32:96, 56:72] = 255
            record.frames[:] = np.where(np.arange(128) < edge, 20, 200)[:, None]
            writer.add(record.key, encode(record, "png"))
        writer.publish({"video": "v"}, {})
    out = succeeds(main, "-i", tmp_path, "-o", tmp_path / "out", "--baselines", "replicate", *SMALL)
    found = json.loads((tmp_path / "out/metrics.json").read_text())
    assert [(clip["placement"], clip["crossed"]) for clip in found["clips"]] == [
        ("aligned", 0),
        ("crossed", 1),
        ("aligned", 0),
    ]
    crossed = found["clips"][1]["measures"]["replicate"]["hole_psnr"]
    assert found["methods"]["replicate"]["means"]["hole_psnr of placement crossed"]["mean"] == pytest.approx(crossed)
    assert re.search(r"PSNR in holes by placement of holes\nmethod +aligned +crossed\n", out)


def test_a_queue_with_less_context_is_measured_beside_the_usual_one(tmp_path):
    write_record(tmp_path, texture_record(0))
    save_network(tmp_path / "a.pth", tiny_network())
    words = ("--checkpoint", tmp_path / "a.pth", "-i", tmp_path, "-o", tmp_path, "--baselines", "none", *SMALL)
    out = succeeds(main, *words, "--overlap-frames", 3, 0)
    assert re.search(r"\na streamed 3 0 ", out) and "  a streamed 3 0 against a streamed\n" in out
    assert "By kind of holes" not in (tmp_path / "report.html").read_text()
    assert "--overlap-frames 6 6: expected 0 or more each" in refused(main, *words, "--overlap-frames", 6, 6)
    assert "expected one or two numbers" in refused(main, *words, "--overlap-frames", 1, 1, 1)
