"""How fast a device computes: floating-point operations per second, and their share of the card's peak."""

import re
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Peak:
    """A card's peak, in TFLOP/s without sparsity, as its maker states it."""

    half: float  # tensor cores in fp16 or bf16, sums in fp32
    single: float  # fp32 without TF32


PEAKS = {  # by a pattern of the name that torch gives; the first that fits counts
    r"laptop|max-q": None,  # slower, by different amounts
    r"\bB200\b": Peak(2250, 75),
    r"\bGH200|\bH200|\bH100.*HBM3|\bH800": Peak(989, 67),
    r"\bH100 NVL": Peak(835, 60),
    r"\bH100 PCIe": Peak(756, 51),
    r"\bA100|\bA800": Peak(312, 19.5),
    r"\bA10G?\b": Peak(125, 31.2),
    r"\bA30\b": Peak(165, 10.3),
    r"\bA40\b": Peak(149.7, 37.4),
    r"\bL4\b": Peak(121, 30.3),
    r"\bL40S": Peak(362, 91.6),
    r"\bL40\b": Peak(181, 90.5),
    r"RTX 6000 Ada": Peak(364, 91.1),
    r"RTX A6000": Peak(154.8, 38.7),
    r"RTX A5000": Peak(111.1, 27.8),
    r"RTX 5090": Peak(209.5, 104.8),
    r"RTX 4090": Peak(165.2, 82.6),
    r"RTX 4080 SUPER": Peak(104, 52.2),
    r"RTX 4080": Peak(97.5, 48.7),
    r"RTX 3090 Ti": Peak(80, 40),
    r"RTX 3090": Peak(71, 35.6),
    r"RTX 3080\b(?! Ti)": Peak(59.5, 29.8),
    r"RTX 2080 Ti": Peak(53.8, 13.4),
    r"V100-SXM": Peak(125, 15.7),
    r"V100": Peak(112, 14),
    r"\bT4\b": Peak(65, 8.1),
}


def peak_of(name: str, precision: str) -> float | None:
    """The peak in TFLOP/s of a card in fp16, bf16 or fp32; None for a card that PEAKS does not list, and for a CPU."""
    peak = next((peak for pattern, peak in PEAKS.items() if re.search(pattern, name, re.IGNORECASE)), None)
    if peak is None:
        return None
    return peak.single if precision == "fp32" else peak.half


def device_name(device: torch.device) -> str:
    """The name of a GPU, or cpu."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


@dataclass(frozen=True)
class Throughput:
    """What turns sequences per second into operations per second."""

    operations: float  # of a sequence, forward and backward
    peak: float | None  # TFLOP/s of the device

    def tflops(self, sequences: float, seconds: float) -> float:
        """TFLOP/s that were achieved."""
        return self.operations * sequences / seconds / 1e12

    def curves(self, sequences: float, seconds: float) -> dict[str, float]:
        """The points of a step in TensorBoard; no share of the peak where that is unknown."""
        found = {"speed/tflops": self.tflops(sequences, seconds)}
        return found if self.peak is None else found | {"speed/share_of_peak": found["speed/tflops"] / self.peak}
