"""Fills a clip with an installed network through iw3's own loader, and compares it with ours."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from model.checkpoint import load_network
from tools.cli import UserError
from tools.cli.files import write_file

LARGEST_DIFFERENCE = 2e-3  # of values in [0, 1]; half precision files and other versions of torch differ by less
SIZE = 96, 128  # height and width of the clip
NOT_TRIED = 3  # exit status: this Python lacks a package of iw3
PYTHONS = ("venv/bin/python", ".venv/bin/python", "venv/Scripts/python.exe", ".venv/Scripts/python.exe")
# Runs in iw3's environment, in its root: (name or "", network, input, output) -> output.npy. iw3.models registers
# the networks that files name. Without a name iw3 takes its network from VIDEO_MODEL_URL.
SCRIPT = f"""
import sys
sys.path.insert(0, "")
name, file, clip, out = sys.argv[1:]
try:
    import numpy, torch
    import iw3.inpaint_utils as utils
    import iw3.models
except ModuleNotFoundError as error:
    if (error.name or "iw3").split(".")[0] in ("iw3", "nunif"):
        raise
    print(error.name)
    sys.exit({NOT_TRIED})
if name:
    network = utils.load_video_inpaint_model(name, device_id=-1)
else:
    utils.VIDEO_MODEL_URL = file
    network = utils.load_video_inpaint_model(device_id=-1)
clip = numpy.load(clip)
with torch.inference_mode():
    filled = network.eval().infer(torch.from_numpy(clip["frames"]), torch.from_numpy(clip["holes"]))
numpy.save(out, filled.float().numpy())
"""


def formula_clip() -> tuple[torch.Tensor, torch.Tensor]:  # -> float (12 3 H W) in [0, 1], bool (12 1 H W)
    """Drifting colours with a hole that moves, in every version the same."""
    t, c, y, x = np.ogrid[:12, :3, : SIZE[0], : SIZE[1]]
    frames = 0.5 + 0.45 * np.sin(0.11 * y + 0.07 * (c + 1) * x + 0.5 * t + c)
    holes = (y >= 20) & (y < 70) & (x >= 40 + t) & (x < 60 + 2 * t)
    return torch.from_numpy(frames.astype(np.float32)), torch.from_numpy(holes)


def try_in_iw3(root: Path, network: Path, python: str, name: str, entries: str) -> str:
    """A sentence that says how the network did in iw3, which chooses it by its name among these entries.

    Older versions of iw3 have neither: both are empty. The entries are the text of inpaint_models.yml, as it will be.
    Raises UserError where iw3 cannot load the network or fills differently.
    """
    executable = python or next((str(root / one) for one in PYTHONS if (root / one).exists()), sys.executable)
    frames, holes = formula_clip()
    with tempfile.TemporaryDirectory() as folder:
        clip, out, choice = Path(folder) / "clip.npz", Path(folder) / "out.npy", Path(folder) / "iw3/inpaint_models.yml"
        np.savez(clip, frames=frames.numpy(), holes=holes.numpy())
        choice.parent.mkdir()
        write_file(choice, entries.encode())
        words = [executable, "-c", SCRIPT, name, str(network), str(clip), str(out)]
        environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "NUNIF_HOME": folder}
        try:
            done = subprocess.run(words, cwd=root, env=environment, capture_output=True, text=True, timeout=300)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise UserError(f"{executable} does not run iw3 ({error}): pass the Python of iw3 with --python") from error
        if done.returncode == NOT_TRIED:
            missing = (done.stdout.strip().splitlines() or ["packages of iw3"])[-1]
            return f"not tried in iw3, because {executable} has no {missing}: pass the Python of iw3 with --python"
        if done.returncode == -signal.SIGINT:  # Ctrl-C reaches that process too, and may end it first
            raise KeyboardInterrupt
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise UserError(f"iw3 cannot load the network ({said}): pass --no-trial to install it nevertheless")
        theirs = torch.from_numpy(np.load(out))
    with torch.inference_mode():
        ours = load_network(network).infer(frames, holes)
    gap = float((ours - theirs).abs().max()) if ours.shape == theirs.shape else float("inf")
    if not gap <= LARGEST_DIFFERENCE:
        raise UserError(f"iw3 fills a clip differently from Backfill (by {gap:.3g}): pass --no-trial to install anyway")
    return f"loaded by iw3, fills a clip as here (largest difference {gap:.1e} of 1)"
