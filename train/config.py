"""Every setting of a training run: the command line, the log and the checkpoint are this one dataclass."""

import re
from dataclasses import dataclass
from typing import ClassVar, Literal

from tools.cli import UserError
from tools.cli.sizes import parse_size

FRAMES = 12  # that the network takes


@dataclass(frozen=True)
class Config:
    """Train a video inpainting network on shards, alone or under torchrun."""

    ALIASES: ClassVar = {"data_dir": ("-i",)}

    data_dir: str = "data"  # folder or URL with the splits train/ and eval/, or several: "s3://a/x*0.7,./local*0.3"
    endpoint_url: str = ""  # S3 server other than Amazon's, as AWS_ENDPOINT_URL
    exclude: str = ""  # file with keys of records to leave out, one a line, besides excluded.txt in each split
    cache_dir: str = ""  # folder that keeps whole shards of object stores
    cache_size: str = "200GB"  # most that it may hold
    model_dir: str = "models/video_inpaint_v1"  # where networks, checkpoints and logs go
    arch: Literal[
        "inpaint.light_video_inpaint_v1",
        "inpaint.light_video_inpaint_v1_small",
        "inpaint.light_video_inpaint_v1_medium",
        "inpaint.light_video_inpaint_v1_large",
    ] = "inpaint.light_video_inpaint_v1"  # network; _small is another name of the first
    init: Literal["copy", "iw3"] = "copy"  # first weights: what is visible is copied, or iw3's
    checkpoint_file: str = ""  # start from the weights of this file, ours or iw3's, or from base, which is here

    resume: bool = False  # go on from the checkpoint in --model-dir; without one, start
    reset_state: bool = False  # with --resume: take the weights alone, start optimizer and epochs anew
    accept_data: bool = False  # with --resume: go on although shards were added or removed, or records excluded

    loss: Literal[
        "temporal_l1lpips",
        "temporal_l1dctlpips",
        "l1lpips",
        "l1dctlpips",
        "dct",
        "temporal_l1",
        "hole_l1lpips",
        "hole_l1",
        "band_l1lpips",
        "band_l1",
    ] = "temporal_l1lpips"  # what is minimised; names without lpips need no VGG16 weights
    lpips_frames: int = 3  # random frames of each sequence that LPIPS looks at; iw3: 12
    diff_aug: bool = True  # move output and truth together before the loss (never for --loss dct)

    max_epoch: int = 200  # epochs; cosine schedules end one early, at their minimum, as in iw3
    num_samples: int = 20000  # frames of an epoch; 1/12 of it are sequences
    backward_step: int = 4  # sequences of an optimizer step, over all processes
    tile: int = 256  # side of the square that the network sees, in pixels; padded to the next larger multiple of 64:
    # 248 costs 0.74 of 256
    tiles_per_record: int = 1  # sequences cut from each visited record, which is read and decoded once
    frames: int = FRAMES  # frames of a sequence; the networks take 12
    augment: Literal["iw3", "strong"] = "iw3"  # strong: half size, upside down, other colours, contrast, softness, too
    hard_example: Literal["linear", "none"] = "linear"  # draw records by their last losses, or each equally often
    shuffle_shards: int = 0  # shards that draws mix at a time (0: all), fewer suit a cache

    optimizer: Literal[
        "adamw", "adamw_schedulefree", "radam_schedulefree", "sgd_schedulefree", "adam", "sgd", "lion"
    ] = "adamw"  # schedule-free ones take no --scheduler
    learning_rate: float = 1e-4  # highest learning rate
    scheduler: Literal["cosine_wd", "cosine", "cosine_fixed_wd", "step"] = "cosine_wd"  # learning rate by epoch
    learning_rate_cycles: int = 5  # falls of the cosine schedules
    learning_rate_decay: float = 0.99  # factor of the step schedule
    learning_rate_decay_step: tuple[int, ...] = (1,)  # epochs between its factors, or the epochs of several
    weight_decay: float = 0.001  # weight decay at the highest learning rate
    weight_decay_end: float = 0.01  # and at the lowest, with cosine_wd
    adam_beta1: float = 0.9  # of the adam family
    adam_beta2: float = 0.999  # of the adam family
    momentum: float = 0.9  # of sgd
    warmup_epoch: int = 0  # epochs of warm-up
    warmup_learning_rate: float = 1e-6  # learning rate in the warm-up
    clip_grad_norm: float = 0.0  # largest gradient norm of a parameter group; 0 clips nothing
    ema_model: bool = False  # average the weights over steps; evaluated and exported, beside NAME.raw.pth without
    ema_decay: float = 0.999  # share of the old average
    ema_step: int = 1  # optimizer steps between averages

    discriminator: Literal[
        "none",
        "l3c",
        "ffc",
        "l3ce",
        "ffce",
        "l3cffce",
        "t_patchgan",
    ] = "none"  # judge that the network learns to deceive, for fine-tuning
    discriminator_weight: float = 0.2  # of the adversarial gradient, after it is made as long as the other
    discriminator_learning_rate: float = 0.0  # of the discriminator; 0: as --learning-rate
    generator_warmup_iteration: int = 500  # optimizer steps until it has its full weight

    eval_step: int = 4  # epochs between evaluations
    eval_metric: Literal[
        "loss",
        "psnr",
        "masked_psnr",
        "masked_ssim",
        "masked_mae",
        "masked_tde",
    ] = "loss"  # which evaluated number says what network is best; masked: in holes, tde: temporal difference error
    save_eval_step: int = 10  # every how manieth evaluation record is written as a picture
    skip_eval: bool = False  # never evaluate; every epoch counts as the best
    save_epoch: bool = False  # keep the network of every epoch under epoch/N/
    disable_backup: bool = False  # keep no copy of the best network under this run's name
    save_every_steps: int = 0  # optimizer steps between checkpoints inside an epoch; 0: at its end only
    keep_checkpoints: int = 2  # newest checkpoints kept
    log_every_steps: int = 1  # optimizer steps between points in TensorBoard
    ignore_nan: bool = True  # skip a step whose loss or gradient is not finite; up to 100 an epoch

    device: str = "auto"  # cpu, cuda or auto
    num_workers: int = -1  # processes that prepare samples, for each training process; -1: cores - 2, at most 8
    compile: bool = False  # torch.compile of network and LPIPS; minutes at the start, faster steps on GPUs
    disable_amp: bool = False  # train in fp32 everywhere
    amp_float: Literal["fp16", "bf16"] = "fp16"  # precision on GPUs; bf16: also on CPUs that have instructions for it
    dry_run: bool = False  # one step: say what memory, workers and time the run would need, and write nothing
    profile: int = 0  # write a torch.profiler trace of so many optimizer steps below logs/
    checkpoint_blocks: bool = False  # recompute whole blocks: keeps fewer activations, takes more time
    seed: int = -1  # of data order, augmentation and first weights; -1 draws one

    def __post_init__(self):
        self._check_ranges()
        if self.frames != FRAMES:
            raise UserError(f"--frames {self.frames}: the networks take {FRAMES} frames, leave it at {FRAMES}")
        parse_size("--cache-size", self.cache_size)
        if self.tile % 8 or not 64 <= self.tile <= 512:
            raise UserError(f"--tile {self.tile}: expected a multiple of 8 from 64 to 512")
        if self.num_samples < self.frames:
            raise UserError(f"--num-samples {self.num_samples}: expected at least the {self.frames} of one sequence")
        if self.discriminator != "none" and self.tile < 80:
            raise UserError(f"--tile {self.tile}: --discriminator {self.discriminator} needs 80 or more")
        if self.reset_state and not self.resume:
            raise UserError("--reset-state says how to --resume: give both")
        if not re.fullmatch(r"auto|cpu|cuda", self.device):
            raise UserError(f"--device {self.device}: expected auto, cpu or cuda")
        if self.ema_model and self.optimizer.endswith("schedulefree"):
            raise UserError(f"--ema-model: {self.optimizer} keeps an average of its own, leave one of the two out")
        if self.warmup_epoch and self.optimizer == "radam_schedulefree":
            raise UserError("--warmup-epoch: radam_schedulefree warms up by itself, leave it out")
        if not self.optimizer.endswith("schedulefree"):
            run_length(self.scheduler, self.max_epoch, self.learning_rate_cycles)

    def _check_ranges(self):
        positive = ("max_epoch", "num_samples", "backward_step", "learning_rate", "learning_rate_cycles", "eval_step")
        positive += (
            "tiles_per_record",
            "save_eval_step",
            "keep_checkpoints",
            "log_every_steps",
            "lpips_frames",
            "ema_step",
        )
        for name in positive:
            _expect(self, name, getattr(self, name) > 0, "more than 0")
        adversarial = ("discriminator_weight", "discriminator_learning_rate", "generator_warmup_iteration")
        natural = ("weight_decay", "weight_decay_end", "warmup_epoch", "clip_grad_norm", "save_every_steps")
        for name in (*natural, "warmup_learning_rate", "shuffle_shards", "momentum", "profile", *adversarial):
            _expect(self, name, getattr(self, name) >= 0, "0 or more")
        for name in ("adam_beta1", "adam_beta2", "ema_decay", "momentum"):
            _expect(self, name, 0 <= getattr(self, name) < 1, "0 or more and less than 1")
        for name in ("seed", "num_workers"):
            _expect(self, name, getattr(self, name) >= -1, "-1 or more")
        _expect(self, "lpips_frames", self.lpips_frames <= self.frames, f"at most {self.frames}")
        _expect(self, "learning_rate_decay", 0 < self.learning_rate_decay <= 1, "more than 0, at most 1")

    @property
    def epochs(self) -> int:
        """The epochs of the run."""
        if self.optimizer.endswith("schedulefree"):
            return self.max_epoch
        return run_length(self.scheduler, self.max_epoch, self.learning_rate_cycles)

    @property
    def epoch_slots(self) -> int:
        """Sequences of an epoch."""
        return epoch_slots(self.num_samples, self.frames, self.backward_step)


def run_length(scheduler: str, max_epoch: int, cycles: int) -> int:
    """The epochs of a run, by iw3's rule: whole cycles, minus the epoch that would start another."""
    if scheduler == "step":
        return max_epoch
    return max(cycle_length(max_epoch, cycles) * cycles - 1, 1)


def cycle_length(max_epoch: int, cycles: int) -> int:
    """Epochs of a cosine cycle. Raises UserError when there are more cycles than epochs."""
    if max_epoch < cycles:
        raise UserError(
            f"--max-epoch {max_epoch} is less than --learning-rate-cycles {cycles}: "
            f"pass --learning-rate-cycles {max_epoch} or less"
        )
    return max_epoch // cycles


def epoch_slots(num_samples: int, frames: int, backward_step: int) -> int:
    """Sequences of an epoch: iw3's num_samples // frames, rounded up to whole optimizer steps so that none is lost."""
    return -(-(num_samples // frames) // backward_step) * backward_step


def _expect(config, name, holds, expected):
    if not holds:
        raise UserError(f"--{name.replace('_', '-')} {getattr(config, name)}: expected {expected}")
