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

LARGEST_DIFFERENCE = 2e-3  # of values in [0, 1]; half precision files and other versions of torch differ by less
SIZE = 96, 128  # height and width of the clip
WITHOUT_TORCH = 3  # exit status
PYTHONS = ("venv/bin/python", ".venv/bin/python", "venv/Scripts/python.exe", ".venv/Scripts/python.exe")
# Runs in iw3's environment, in its root: (network, input, output) -> output.npy
SCRIPT = f"""
import sys
try:
    import numpy, torch
except ImportError:
    sys.exit({WITHOUT_TORCH})
sys.path.insert(0, "")
import iw3.inpaint_utils as utils
load = getattr(utils, "load_model", None)
if load is None:
    from nunif.models import load_model as load
found = load(sys.argv[1], weights_only=True)
network = (found[0] if isinstance(found, tuple) else found).eval()
clip = numpy.load(sys.argv[2])
with torch.inference_mode():
    filled = network.infer(torch.from_numpy(clip["frames"]), torch.from_numpy(clip["holes"]))
numpy.save(sys.argv[3], filled.float().numpy())
"""


def formula_clip() -> tuple[torch.Tensor, torch.Tensor]:  # -> float (12 3 H W) in [0, 1], bool (12 1 H W)
    """Drifting colours with a hole that moves, in every version the same."""
    t, c, y, x = np.ogrid[:12, :3, : SIZE[0], : SIZE[1]]
    frames = 0.5 + 0.45 * np.sin(0.11 * y + 0.07 * (c + 1) * x + 0.5 * t + c)
    holes = (y >= 20) & (y < 70) & (x >= 40 + t) & (x < 60 + 2 * t)
    return torch.from_numpy(frames.astype(np.float32)), torch.from_numpy(holes)


def try_in_iw3(root: Path, network: Path, python: str) -> str:
    """A sentence that says how the network did in iw3.

    Raises UserError where iw3 cannot load it or fills differently.
    """
    executable = python or next((str(root / one) for one in PYTHONS if (root / one).exists()), sys.executable)
    frames, holes = formula_clip()
    with tempfile.TemporaryDirectory() as folder:
        clip, out = Path(folder) / "clip.npz", Path(folder) / "out.npy"
        np.savez(clip, frames=frames.numpy(), holes=holes.numpy())
        words = [executable, "-c", SCRIPT, str(network), str(clip), str(out)]
        environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
        try:
            done = subprocess.run(words, cwd=root, env=environment, capture_output=True, text=True, timeout=300)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise UserError(f"{executable} does not run iw3 ({error}): pass the Python of iw3 with --python") from error
        if done.returncode == WITHOUT_TORCH:
            return f"not tried in iw3, because {executable} has no PyTorch: pass the Python of iw3 with --python"
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
