"""Every setting of a training run: one dataclass is the command line, the log and the checkpoint."""

import re
from dataclasses import dataclass
from typing import ClassVar, Literal

from tools.cli import UserError
from tools.cli.sizes import parse_size

FRAMES = 12  # per sequence, which the networks expect
OPEN_END = 100_000  # epochs of a run that somebody will end


@dataclass(frozen=True)
class Config:
    """Train a video inpainting network on shards, alone or under torchrun."""

    ALIASES: ClassVar = {"data_dir": ("-i",)}

    data_dir: str = "data"  # folder or URL with train/ and eval/; or a list of tars, x/train/f-{0..9}.tar; or several
    # of these with weights, "s3://a/x*0.7,b*0.3"
    endpoint_url: str = ""  # S3 server other than Amazon's; default: AWS_ENDPOINT_URL
    exclude: str = ""  # file with keys of records to exclude, one per line, in addition to excluded.txt in each split
    cache_dir: str = ""  # folder for a local cache of shards from object stores
    cache_size: str = "200GB"  # maximum size of the cache
    model_dir: str = "models/video_inpaint_v1"  # output folder for networks, checkpoints and logs
    arch: Literal[
        "inpaint.light_video_inpaint_v1",
        "inpaint.light_video_inpaint_v1_small",
        "inpaint.light_video_inpaint_v1_medium",
        "inpaint.light_video_inpaint_v1_large",
    ] = "inpaint.light_video_inpaint_v1"  # network; _small is an alias of the first
    init: Literal["copy", "iw3"] = "copy"  # initial weights: copy reproduces visible pixels from the start; iw3: iw3's
    checkpoint_file: str = ""  # start from the weights of this file, of Backfill or iw3; base: those included here

    resume: bool = False  # resume from the checkpoint in --model-dir; start a new run if there is none
    reset_state: bool = False  # with --resume: load the weights only, reset optimizer and epoch
    accept_data: bool = False  # with --resume: accept that shards were added or removed, or records excluded

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
        "band_psnr",
        "width_psnr",
        "inside_psnr",
        "inside_width_psnr",
    ] = "temporal_l1lpips"  # training loss; names without lpips need no VGG16 weights
    lpips_frames: int = 3  # number of random frames per sequence that LPIPS is computed on; iw3: 12
    diff_aug: bool = True  # shift or rotate output and truth together before the loss (not for --loss dct)

    max_epoch: int = 200  # number of epochs; cosine schedules end one epoch earlier, at their minimum, as in iw3
    num_samples: int = 20000  # frames per epoch; an epoch has 1/12 as many sequences, rounded up to whole steps
    backward_step: int = 4  # sequences per optimizer step, over all processes
    batch_size: int = 0  # largest number of sequences in one forward pass of a process, which changes no result; 0: 1
    # on a CPU, on a GPU as many as it has memory for, 6 GB each
    tile: int = 256  # side of the square training crop, in pixels; padded to the next larger multiple of 64,
    # so that 248 takes 0.74 of the time of 256
    tiles_per_record: int = 1  # sequences cut from each record that is read and decoded
    frames: int = FRAMES  # frames per sequence; the networks expect 12
    augment: Literal["iw3", "strong"] = "iw3"  # strong adds random scale, vertical flip, colour, contrast and blur
    holes_as_used: float = 0.0  # share of sequences whose holes are closed and grown as iw3 does in use: by 2 pixels of
    # the depth map to the right and 1 to the left; the others grow at random, as in iw3's training
    hard_example: Literal["linear", "none"] = "linear"  # linear samples records by their recent losses, none uniformly
    shuffle_shards: int = 0  # shuffle window, in shards (0: global shuffle); a small window suits a cache

    optimizer: Literal[
        "adamw", "adamw_schedulefree", "radam_schedulefree", "sgd_schedulefree", "adam", "sgd", "lion", "muon"
    ] = "adamw"  # optimizer; the schedule-free ones ignore --scheduler
    learning_rate: float = 1e-4  # maximum learning rate
    scheduler: Literal["cosine_wd", "cosine", "cosine_fixed_wd", "step"] = "cosine_wd"  # learning rate schedule
    learning_rate_cycles: int = 5  # number of cosine cycles
    learning_rate_decay: float = 0.99  # decay factor of the step schedule
    learning_rate_decay_step: tuple[int, ...] = (1,)  # decay every N epochs, or at each of the listed epochs
    weight_decay: float = 0.001  # weight decay at the maximum learning rate
    weight_decay_end: float = 0.01  # weight decay at the minimum learning rate, with cosine_wd
    adam_beta1: float = 0.9  # beta1 of the adam optimizers
    adam_beta2: float = 0.999  # beta2 of the adam optimizers
    momentum: float = 0.9  # momentum of the sgd optimizers
    warmup_epoch: int = 0  # number of warm-up epochs
    warmup_learning_rate: float = 1e-6  # learning rate during the warm-up
    clip_grad_norm: float = 0.0  # maximum gradient norm per parameter group; 0: no clipping
    ema_model: bool = False  # evaluate and export a moving average of the weights; the raw weights go to NAME.raw.pth
    ema_decay: float = 0.999  # decay of the moving average
    ema_step: int = 1  # optimizer steps between updates of the moving average

    discriminator: Literal[
        "none",
        "l3c",
        "ffc",
        "l3ce",
        "ffce",
        "l3cffce",
        "t_patchgan",
    ] = "none"  # discriminator for adversarial fine-tuning
    discriminator_weight: float = 0.2  # weight of the adversarial gradient, after its norm is matched to the
    # reconstruction loss
    discriminator_learning_rate: float = 0.0  # learning rate of the discriminator; 0: same as --learning-rate
    generator_warmup_iteration: int = 500  # optimizer steps until the adversarial loss has its full weight

    eval_step: int = 4  # epochs between evaluations
    eval_metric: Literal[
        "loss",
        "psnr",
        "masked_psnr",
        "masked_ssim",
        "masked_mae",
        "masked_tde",
    ] = "loss"  # metric that selects the best network; masked: in holes only, tde: temporal difference error
    save_eval_step: int = 10  # save every Nth evaluation sample as an image
    skip_eval: bool = False  # no evaluation; every epoch counts as the best
    save_epoch: bool = False  # save the network of every epoch under epoch/N/
    disable_backup: bool = False  # save no copy of the best network under the name of this run
    save_every_steps: int = 0  # optimizer steps between checkpoints within an epoch; 0: only at its end
    keep_checkpoints: int = 2  # number of latest checkpoints to keep
    log_every_steps: int = 1  # optimizer steps between TensorBoard points
    track: Literal["none", "wandb", "mlflow"] = "none"  # experiment tracker that gets the same points as TensorBoard
    ignore_nan: bool = True  # skip steps whose loss or gradient is not finite, up to 100 per epoch

    device: str = "auto"  # cpu, cuda or auto
    timeout: float = 10.0  # minutes that processes of a job wait for another, which is then named, before the job ends
    num_workers: int = -1  # data worker processes per training process; -1: cores - 2, at most 8
    deterministic: bool = False  # use torch's deterministic algorithms: equal runs give equal bits, on a GPU, too
    compile: bool = False  # torch.compile the network and LPIPS: takes minutes at the start, faster steps on GPUs
    disable_amp: bool = False  # train in fp32 only
    amp_float: Literal["auto", "fp16", "bf16"] = "auto"  # precision of the forward pass; auto: bf16 where the GPU or
    # CPU has instructions for it, else fp16 on GPUs and fp32 on CPUs
    dry_run: bool = False  # run one step, print the memory, workers and time that the run would need, and write nothing
    profile: int = 0  # write a torch.profiler trace of N optimizer steps below logs/
    checkpoint_blocks: bool = False  # activation checkpointing of whole blocks: less memory, more time
    seed: int = -1  # random seed of data order, augmentation and initial weights; -1: choose one

    def __post_init__(self):
        self._check_ranges()
        if self.frames != FRAMES:
            raise UserError(f"--frames {self.frames}: expected {FRAMES}, which the networks need")
        parse_size("--cache-size", self.cache_size)
        if self.tile % 8 or not 64 <= self.tile <= 512:
            raise UserError(f"--tile {self.tile}: expected a multiple of 8 from 64 to 512")
        if self.num_samples < self.frames:
            raise UserError(f"--num-samples {self.num_samples}: expected at least the {self.frames} of one sequence")
        if self.discriminator != "none" and self.tile < 80:
            raise UserError(f"--tile {self.tile}: --discriminator {self.discriminator} needs 80 or more")
        if self.reset_state and not self.resume:
            raise UserError("--reset-state needs --resume: pass both")
        if not re.fullmatch(r"auto|cpu|cuda", self.device):
            raise UserError(f"--device {self.device}: expected auto, cpu or cuda")
        if self.ema_model and self.optimizer.endswith("schedulefree"):
            raise UserError(f"--ema-model: {self.optimizer} already averages the weights, remove one of the two")
        if self.warmup_epoch and self.optimizer == "radam_schedulefree":
            raise UserError("--warmup-epoch: radam_schedulefree has a warm-up of its own, remove --warmup-epoch")
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
            "timeout",
        )
        for name in positive:
            _expect(self, name, getattr(self, name) > 0, "more than 0")
        adversarial = ("discriminator_weight", "discriminator_learning_rate", "generator_warmup_iteration")
        natural = ("weight_decay", "weight_decay_end", "warmup_epoch", "clip_grad_norm", "save_every_steps")
        other = ("warmup_learning_rate", "shuffle_shards", "momentum", "profile", "batch_size")
        for name in (*natural, *other, *adversarial):
            _expect(self, name, getattr(self, name) >= 0, "0 or more")
        for name in ("adam_beta1", "adam_beta2", "ema_decay", "momentum"):
            _expect(self, name, 0 <= getattr(self, name) < 1, "0 or more and less than 1")
        for name in ("seed", "num_workers"):
            _expect(self, name, getattr(self, name) >= -1, "-1 or more")
        _expect(self, "holes_as_used", 0 <= self.holes_as_used <= 1, "0 to 1")
        _expect(self, "lpips_frames", self.lpips_frames <= self.frames, f"at most {self.frames}")
        _expect(self, "learning_rate_decay", 0 < self.learning_rate_decay <= 1, "more than 0, at most 1")

    @property
    def epochs(self) -> int:
        """The epochs of the run."""
        if self.optimizer.endswith("schedulefree"):
            return self.max_epoch
        return run_length(self.scheduler, self.max_epoch, self.learning_rate_cycles)

    @property
    def has_end(self) -> bool:
        """Whether the run ends by itself; one of OPEN_END epochs is ended by whoever started it."""
        return self.epochs < OPEN_END

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
