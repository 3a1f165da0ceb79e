"""Part a: whether the device computes what the CPU computes, and the same twice.

T frames (12), S side of the tile.
"""

import copy
from collections.abc import Iterable

import torch
from torch import Tensor

from model.checkpoint import load_network, read_file
from model.light_video_inpaint import LightVideoInpaint
from model.morphology import dilate, mask_closing
from pack.depth.motion import MotionDepth
from pack.holes.forward import half_holes
from pack.holes.monobw import moved_holes
from tools.gpu.data import ready_data
from tools.gpu.work import Row, Work
from train.config import Config
from train.evaluation.evaluate import trim
from train.objectives.loss import LOSSES, create_loss
from train.optimizers.recipe import create_optimizer_of

FP32, HALF = 1e-4, 1e-2  # largest difference of outputs in [0, 1], and relative difference of gradients
CPU = torch.device("cpu")


def measure(work: Work) -> None:
    """Add a row for each check."""
    torch.set_float32_matmul_precision("highest")  # the other switch, allow_tf32, leaves a state that PyTorch refuses
    torch.backends.cudnn.allow_tf32 = False
    checks = (check_network, check_masks, check_depth, check_losses, check_optimizers, check_two_runs)
    work.attempt_all("a", {check.__name__.replace("_", " "): check for check in checks})


def clip(side: int) -> tuple[Tensor, Tensor]:  # -> (T 3 S S) in [0, 1], bool (T 1 S S)
    """A smooth picture that moves, and holes of blocks of 8 pixels."""
    gen = torch.Generator().manual_seed(1)
    coarse = torch.rand(12, 3, side // 8, side // 8, generator=gen)
    frames = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1)
    holes = torch.rand(12, 1, side // 8, side // 8, generator=gen) > 0.9
    return frames, holes.repeat_interleave(8, -1).repeat_interleave(8, -2)


def check_network(work: Work) -> None:
    """Output and gradient of the network, against fp32 on the CPU.

    The goal of a gradient is at least twice the change that comes of nothing but weights rounded to the format.
    """
    frames, holes = clip(64 if work.tiny else 192)
    network = load_network(work.checkpoint).train()
    output, gradient = passes(network, frames, holes, None)
    largest_value = float(gradient.abs().max())
    device_network = copy.deepcopy(network).to(work.device)
    for name, half in (("fp32", None), ("bf16", torch.bfloat16), ("fp16", torch.float16)):
        if name == "fp16" and work.device.type == "cpu":
            continue
        goal, notes = FP32 if half is None else HALF, {}
        found, slope = passes(device_network, frames.to(work.device), holes.to(work.device), half)
        work.add(Row("a", f"network {name}, output", largest([found], [output]), "", goal))
        if half is not None:
            _, rounded = passes(with_rounded_weights(network, half), frames, holes, None)
            notes["with_rounded_weights_in_fp32"] = largest([rounded], [gradient]) / largest_value
            goal = max(goal, 2 * notes["with_rounded_weights_in_fp32"])
        share = largest([slope], [gradient]) / largest_value
        notes["norm_of_difference"] = relative([slope], [gradient])
        work.add(Row("a", f"network {name}, gradient, of its largest value", share, "", goal, notes=notes))


def with_rounded_weights(network: LightVideoInpaint, half: torch.dtype) -> LightVideoInpaint:
    """A copy of the network whose weights are the nearest ones of the format, in fp32."""
    rounded = copy.deepcopy(network)
    with torch.no_grad():
        for weight in rounded.parameters():
            weight.copy_(weight.to(half))
    return rounded


def passes(
    network: LightVideoInpaint, frames: Tensor, holes: Tensor, half: torch.dtype | None
) -> tuple[Tensor, Tensor]:
    """The output and the gradient of all weights, on the CPU."""
    network.zero_grad()
    with torch.autocast(frames.device.type, half, enabled=half is not None):
        output = network(*network.preprocess(frames, holes))
    (output.float() - trim(frames)).square().mean().mul(100).backward()
    gradient = torch.cat([weight.grad.flatten() for weight in network.parameters() if weight.grad is not None])
    return output.detach().float().cpu(), gradient.cpu()


def check_masks(work: Work) -> None:
    """Holes and masks, which are to be identical."""
    gen = torch.Generator().manual_seed(2)
    coarse = torch.rand(2, 1, 9, 16, generator=gen)
    size = (90, 160) if work.tiny else (1080, 1920)
    depth = torch.nn.functional.interpolate(coarse, size, mode="bilinear")
    levels = 2 if work.tiny else 8
    depth = (depth * levels).round() / levels  # steps, at which there are holes
    _, holes = clip(64 if work.tiny else 256)
    for view in ("left", "right"):
        here, there = (half_holes(depth.to(device), 4.0, 0.5, view) for device in (CPU, work.device))
        share = float((here != there.cpu()).double().mean())
        notes = {"hole_share": float((here > 0).double().mean())}
        work.add(Row("a", f"holes, {view} view, pixels that differ", share, "", 0.0, notes=notes))
    here, there = (moved_holes(depth.to(device), size, 4.0, 0.5) for device in (CPU, work.device))
    share, notes = float((here != there.cpu()).double().mean()), {"hole_share": float(here.double().mean())}
    work.add(Row("a", "holes of monobw, pixels that differ", share, "", 0.0, notes=notes))
    for name, act in (("dilate", lambda mask: dilate(mask, 5)), ("closing", mask_closing)):
        here, there = (act(holes.to(device)).cpu() for device in (CPU, work.device))
        work.add(Row("a", f"masks, {name}, pixels that differ", float((here != there).double().mean()), "", 0.0))


def check_depth(work: Work) -> None:
    """Nearness of the offline estimator, in steps of 1/4096."""
    frames, _ = clip(64 if work.tiny else 256)
    here, there = (MotionDepth(64 if work.tiny else 256, device)(frames).cpu() for device in (CPU, work.device))
    notes = {"largest": largest([there], [here])}
    work.add(Row("a", "offline depth, mean difference", float((here - there).abs().mean()), "", 1e-3, notes=notes))


def check_losses(work: Work) -> None:
    """Terms and gradients of every loss that needs no VGG16."""
    target, holes = clip(64 if work.tiny else 256)
    gen = torch.Generator().manual_seed(3)
    output = target + 0.1 * torch.randn(target.shape, generator=gen)
    for name, weights in LOSSES.items():
        if any(term.endswith("lpips") for term in weights):
            continue
        found = []
        for device in (CPU, work.device):
            value = output.to(device, copy=True).requires_grad_()
            terms = create_loss(name, device=device)(value, target.to(device), holes.to(device))
            total = torch.stack([*terms.values()]).sum()
            total.backward()
            assert value.grad is not None
            found.append((total.detach().cpu(), value.grad.cpu()))
        (here, slope_here), (there, slope_there) = found
        work.add(Row("a", f"loss {name}", relative([there], [here]), "relative", FP32))
        work.add(Row("a", f"loss {name}, gradient", relative([slope_there], [slope_here]), "relative", FP32))


def check_optimizers(work: Work) -> None:
    """The weights after a step with equal gradients."""
    for name in ("adamw", "adamw_schedulefree", "lion", "muon"):
        stepped = []
        for device in (CPU, work.device):
            network = load_network(work.checkpoint, device).train()
            config = Config(optimizer=name)
            optimizer = create_optimizer_of(config, network)
            for weight in network.parameters():
                weight.grad = torch.sin(torch.arange(weight.numel()).view(weight.shape)).to(device)
            optimizer.step()
            stepped.append([weight.detach().cpu() for weight in network.parameters()])
        work.add(Row("a", f"optimizer step {name}", relative(stepped[1], stepped[0]), "relative", 1e-6))


def check_two_runs(work: Work) -> None:
    """Two equal trainings with --deterministic: the number of weights that differ in any bit."""
    ready_data(work)
    weights = []
    for number in range(2):
        folder = work.folder / f"equal-{number}"
        train_briefly(work, folder, "--deterministic", "--seed", 1)
        weights.append(read_file(next(folder.glob("*.checkpoint.pth")))["state_dict"])
    apart = [(weights[0][name] != weights[1][name]).sum() for name in weights[0]]
    work.add(Row("a", "two equal runs, weights that differ", float(torch.stack(apart).sum()), "", 0.0))


def train_briefly(work: Work, folder: object, *flags: object) -> str:
    """The output of a training of four steps."""
    return work.run(
        "train/main.py", "-i", work.data, "--model-dir", folder, "--checkpoint-file", work.checkpoint,
        "--device", work.device.type, "--loss", "temporal_l1", "--tile", 64 if work.tiny else 128,
        "--max-epoch", 1, "--learning-rate-cycles", 1, "--num-samples", 96, "--backward-step", 2,
        "--skip-eval", "--num-workers", 0, *flags,
    )  # fmt: skip


def largest(found: Iterable[Tensor], expected: Iterable[Tensor]) -> float:
    """The largest absolute difference."""
    return max(float((a - b).abs().max()) for a, b in zip(found, expected, strict=True))


def relative(found: Iterable[Tensor], expected: Iterable[Tensor]) -> float:
    """The norm of the difference divided by the norm of what is expected."""
    pairs = [(a.double(), b.double()) for a, b in zip(found, expected, strict=True)]
    apart = sum(float((a - b).square().sum()) for a, b in pairs) ** 0.5
    return apart / max(sum(float(b.square().sum()) for _, b in pairs) ** 0.5, 1e-30)
