"""The losses of training: weighted terms between the network's output and the true frames."""

from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F

from model.morphology import dilate
from train.objectives.dct import dct_loss
from train.objectives.diff_aug import reflect_pad
from train.objectives.perceptual import Perceptual, load_perceptual, lpips, lpips_in_holes

# T frames, H height, W width; z is the output, y the target, `where` a mask of the pixels that count, or None for all

TEMPORAL = {"l1": 0.8, "temporal_gradient": 0.2, "temporal_smoothing": 0.01}
IN_HOLES = {f"hole_{name}": weight for name, weight in TEMPORAL.items()}
AROUND_HOLES = {f"band_{name}": weight for name, weight in TEMPORAL.items()}
BEST_PSNR = 45  # dB, beyond which a better fill gains nothing
BAND = 8  # pixels around a hole, where a fill in the colour of the foreground is visible as a halo
EDGE = 2  # pixels at a hole's left edge, which iw3 grows over the foreground: their colour is not the background's

LOSSES = {  # name: weight of each term, summed in this order
    "temporal_l1lpips": {**TEMPORAL, "lpips": 0.2},
    "temporal_l1dctlpips": {**TEMPORAL, "l1": 0.4, "dct_overlap": 0.4, "lpips": 0.2},
    "l1lpips": {"l1": 1.0, "lpips": 0.4},
    "l1dctlpips": {"l1": 0.5, "dct_overlap": 0.5, "lpips": 0.2},
    "dct": {"dct_4": 0.2, "dct_24": 0.2, "dct_whole": 0.6},
    "temporal_l1": TEMPORAL,
    "hole_l1lpips": {**TEMPORAL, **IN_HOLES, "lpips": 0.2, "hole_lpips": 0.2},
    "hole_l1": {**TEMPORAL, **IN_HOLES},
    "band_l1lpips": {**TEMPORAL, **AROUND_HOLES, "lpips": 0.2, "hole_lpips": 0.2},
    "band_l1": {**TEMPORAL, **AROUND_HOLES},
    "band_psnr": {**TEMPORAL, "hole_psnr": 0.1, "band_psnr": 0.1, "band_temporal_gradient": 0.2},
    "width_psnr": {**TEMPORAL, "hole_psnr": 0.05, "narrow_psnr": 0.05, "band_psnr": 0.1, "band_temporal_gradient": 0.2},
    "inside_psnr": {**TEMPORAL, "inside_psnr": 0.15, "band_psnr": 0.05, "band_temporal_gradient": 0.2},
    "inside_width_psnr": {
        **TEMPORAL,
        "inside_psnr": 0.12,
        "narrow_psnr": 0.03,
        "band_psnr": 0.05,
        "band_temporal_gradient": 0.2,
    },
}
DCT = {
    "dct_overlap": {"window": 32, "overlap": True},
    "dct_4": {"window": 4},
    "dct_24": {"window": 24, "rotated": True},
    "dct_whole": {"rotated": True},
}
LPIPS_MULTIPLE = 16  # VGG16 halves its input four times before the last tapped layer


def create_loss(
    name: str,
    lpips_frames: int = 12,
    device: torch.device | str = "cpu",
    weights_dir: Path | None = None,
    perceptual: Perceptual | None = None,
) -> "Loss":
    """The loss of this name in LOSSES, on a device; `perceptual` is used instead of loading LPIPS.

    In training LPIPS is computed on `lpips_frames` random frames of a clip, which leaves its expected value unchanged.
    Raises UserError when the loss needs LPIPS and its weights are unavailable.
    """
    weights = LOSSES[name]
    if "lpips" in weights and perceptual is None:
        perceptual = load_perceptual(weights_dir, device)
    return Loss(weights, lpips_frames, perceptual if "lpips" in weights else None).to(device)


class Loss(nn.Module):
    """Weighted terms whose sum is the loss, in a fixed order; in fp32, except VGG16's layers under autocast."""

    def __init__(self, weights: dict[str, float], lpips_frames: int = 12, perceptual: Perceptual | None = None):
        super().__init__()
        self.weights = weights
        self.lpips_frames = lpips_frames
        self.perceptual = perceptual

    def forward(self, output, target, holes, gen=None):  # (T 3 H W), (T 3 H W), (T 1 H W) bool -> name: ()
        """The weighted terms. `gen` picks the DCT's angles and LPIPS's frames; without it: 45 degrees, all frames."""
        return self.each([(output, target, holes)], [gen])[0]

    def each(self, sequences, gens):  # [(output, target, holes)], [gen] -> [name: ()]
        """The weighted terms of each sequence, as `forward` gives them; LPIPS sees the frames of all in one pass."""
        plain = [name for name in self.weights if not name.endswith("lpips")]
        padded, found = [], []
        for (output, target, holes), gen in zip(sequences, gens, strict=True):
            z, y = output.float(), target.float()
            if self.perceptual is not None:  # the other terms see the padding too, as in iw3
                z, y, holes = _to_multiple(z, y, holes)
            with torch.autocast(z.device.type, enabled=False):
                found.append({name: term(name, z, y, holes, gen) for name in plain})
            padded.append((z, y, holes))
        if self.perceptual is not None:
            found = [terms | more for terms, more in zip(found, self._lpips(padded, gens), strict=True)]
        return [self.weighted(terms) for terms in found]

    def weighted(self, terms):  # name: () -> name: ()
        """The terms of a sequence with their weights, in the order of the loss."""
        return {name: weight * terms[name] for name, weight in self.weights.items()}

    def _lpips(self, sequences, gens):
        chosen = [self._chosen(frames, gen) for frames, gen in zip(sequences, gens, strict=True)]
        counts = [len(z) for z, _, _ in chosen]
        maps = self.perceptual(*(torch.cat([part[i] for part in chosen]) for i in (0, 1)))
        parts = zip(*(m.split(counts) for m in maps), strict=True)  # the five maps of each sequence
        return [
            {"lpips": lpips(own), "hole_lpips": lpips_in_holes(own, holes)}
            for own, (_, _, holes) in zip(parts, chosen, strict=True)
        ]

    def _chosen(self, sequence, gen):  # the frames of a sequence that LPIPS sees
        frames = len(sequence[0])
        if gen is None or self.lpips_frames >= frames:
            return sequence
        chosen = torch.randperm(frames, generator=gen, device=gen.device)[: self.lpips_frames]
        return tuple(part[chosen.to(part.device)] for part in sequence)


def term(name, z, y, holes, gen=None):  # (T 3 H W), (T 3 H W), (T 1 H W) bool -> ()
    """One term without its weight. "hole_x" is x averaged over hole pixels alone, regardless of their number:

    hole_x = sum over p in holes of error_x(p) / max(#holes, #pixels / 1000). The lower bound limits the weight of very
    small holes, and gives 0 where there is none. "band_x" averages over the holes and BAND pixels around them,
    "narrow_x" over `narrow`, "inside_x" over `inside`.
    """
    region, _, measure = name.partition("_")
    where = REGIONS[region](holes) if region in REGIONS else None
    match measure if region in REGIONS else name:
        case "l1":
            return clamp_l1(z, y, where)
        case "psnr":
            return below_best_psnr(z, y, where)
        case "temporal_gradient":
            return temporal_gradient(z, y, where)
        case "temporal_smoothing":
            return temporal_smoothing(z, where)
        case dct_name:
            return dct_loss(z, y, **DCT[dct_name], gen=gen)


def clamp_l1(z, y, where=None):
    """L1(clamp z, clamp y) + 0.001 L1(z, y): the second term pulls values outside of [0, 1] back."""
    return mean((z.clamp(0, 1) - y.clamp(0, 1)).abs(), where) + 0.001 * mean((z - y).abs(), where)


def below_best_psnr(z, y, where=None):
    """Tens of dB by which the sequence's PSNR is below BEST_PSNR: BEST_PSNR / 10 + log10(MSE + 10^(-BEST_PSNR / 10)).

    Its gradient is that of the MSE divided by the MSE, so that sequences whose holes nobody can predict do not outweigh
    those that show what is right, and its mean is what evaluation averages. After the PSNR loss of Chen et al.,
    HINet, CVPRW 2021; the lower bound of the MSE is ours.
    """
    least = 10 ** (-BEST_PSNR / 10)
    return BEST_PSNR / 10 + torch.log10(mean((z.clamp(0, 1) - y.clamp(0, 1)).square(), where) + least)


def inside(holes, edge=EDGE):  # bool (T 1 H W) -> same
    """The hole pixels with at least `edge` hole pixels to their left, so without the edge grown over the foreground."""
    runs = [F.pad(holes, (n, 0))[..., : holes.shape[-1]] for n in range(edge + 1)]
    return torch.stack(runs).all(dim=0)


def narrow(holes, width=8):  # bool (T 1 H W) -> same
    """The hole pixels whose run in their row is at most `width` pixels long, as evaluation classes them."""
    side = width + 1
    mask = holes.float()
    wide = 1 - F.max_pool2d(1 - mask, (1, side), 1)  # at x: all of x to x + width are holes
    wide = F.max_pool2d(F.pad(wide, (width, width)), (1, side), 1)
    return holes & (wide < 0.5)


def temporal_gradient(z, y, where=None):
    """L1(z[t] - z[t+1], y[t] - y[t+1]). A pixel of a pair counts where either frame is in `where`."""
    either = None if where is None else where[:-1] | where[1:]
    return mean((z.diff(dim=0) - y.diff(dim=0)).abs(), either)


def temporal_smoothing(z, where=None, axis=0):
    """Mean square of z[t] - 2 z[t+1] + z[t+2]: penalises flicker. iw3 uses axis 1, the colours, by mistake."""
    any_of_three = None if where is None else where[:-2] | where[1:-1] | where[2:]
    return mean(z.diff(n=2, dim=axis).square(), any_of_three)


def mean(error, where=None):  # (T C H W), (T 1 H W) bool -> ()
    """Mean of all values, or of those in `where` (at least 1/1000 of all pixels are assumed)."""
    if where is None:
        return error.mean()
    count = where.sum().clamp(min=where.numel() / 1000)
    return (error * where).sum() / (count * error.shape[1])


REGIONS = {  # what the first word of a term's name says: holes -> the pixels that count, both bool (T 1 H W)
    "hole": lambda holes: holes,
    "band": lambda holes: dilate(holes, BAND),
    "inside": inside,
    "narrow": narrow,
}


def _to_multiple(z, y, holes):
    missing_y, missing_x = -z.shape[-2] % LPIPS_MULTIPLE, -z.shape[-1] % LPIPS_MULTIPLE
    if missing_y == missing_x == 0:
        return z, y, holes
    pad = missing_x // 2, missing_x - missing_x // 2, missing_y // 2, missing_y - missing_y // 2
    return reflect_pad(z, pad), reflect_pad(y, pad), F.pad(holes, pad)
