"""The network that comes with the project."""

import torch

from model.checkpoint import BASE_FILE, create_network, load_network, read_file, save_network
from model.light_video_inpaint import FRAMES
from tests.support.programs import refused, succeeds
from tests.support.shards import texture_record
from tools import export


def test_the_included_network_is_found_by_its_name_and_stored_in_half_precision():
    payload = read_file("base")
    assert {weight.dtype for weight in payload["state_dict"].values()} == {torch.float16}
    assert BASE_FILE.stat().st_size < 5e6
    network = load_network("base")
    assert all(torch.equal(w, payload["state_dict"][name].float()) for name, w in network.state_dict().items())


def test_the_included_file_says_how_it_was_trained_without_a_path_of_any_machine():
    values = read_file("base")["train_kwargs"]
    assert values["loss"] == "inside_width_psnr" and values["checkpoint_file"] and values["lineage"]["sources"]
    assert not [name for name, value in values.items() if str(value).startswith(("/", "~"))]


def test_the_included_network_fills_a_clip_that_it_was_not_trained_on():
    record = texture_record(3)
    frames = torch.from_numpy(record.frames[:FRAMES]).permute(0, 3, 1, 2).float() / 255
    holes = torch.from_numpy(record.masks[:FRAMES, None] > 0)

    def error(network):  # mean absolute error in holes
        return float((network.infer(frames, holes) - frames).abs().mean(1)[holes[:, 0]].mean())

    gray = float((0.5 - frames).abs().mean(1)[holes[:, 0]].mean())
    fresh = create_network("inpaint.light_video_inpaint_v1", generator=torch.Generator().manual_seed(0)).eval()
    assert error(load_network("base")) < 0.5 * min(gray, error(fresh))


def test_programs_accept_base_and_never_overwrite_it(tmp_path):
    succeeds(export.main, "--checkpoint", "base", "-o", tmp_path / "a.pth")
    network = load_network(tmp_path / "a.pth")
    assert all(torch.equal(w, network.state_dict()[k]) for k, w in load_network("base").state_dict().items())
    before = BASE_FILE.read_bytes()
    assert "would overwrite" in refused(export.main, "--checkpoint", "base", "-o", BASE_FILE)
    assert BASE_FILE.read_bytes() == before


def test_a_file_called_base_is_given_with_its_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_network("base", create_network("inpaint.light_video_inpaint_v1"))
    assert {w.dtype for w in read_file("./base")["state_dict"].values()} == {torch.float32}
    assert {w.dtype for w in read_file("base")["state_dict"].values()} == {torch.float16}
