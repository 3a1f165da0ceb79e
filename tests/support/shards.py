"""Small shards for tests: moving texture, with holes that move along."""

import numpy as np

from pack.shards.record import Record, encode
from pack.shards.shard import ShardWriter


def texture_record(number, frames=16, size=128):
    """A record of smooth colours that drift, with a hole of drifting width."""
    rng = np.random.default_rng(number)
    phase, speed = rng.uniform(0, 6, 3), rng.uniform(0.5, 2)
    y, x = np.mgrid[:size, :size] / 9
    drift = speed * np.arange(frames)[:, None, None] / 4
    channels = [128 + 100 * np.sin(x + drift + phase[c]) * np.cos(0.7 * y + phase[c]) for c in range(3)]
    masks = np.zeros((frames, size, size), np.uint8)
    for t in range(frames):
        left = int(rng.integers(size // 4, size // 2))
        masks[t, size // 4 : -size // 4, left : left + 6 + t % 5] = 255
    return Record(f"test_{number}_0", np.stack(channels, -1).astype(np.uint8), masks, {"number": number})


def make_split(folder, records=6, shards=2, first=0, frames=16, size=128):
    """A split of `records` records in `shards` shards."""
    for shard in range(shards):
        with ShardWriter(folder / f"s{first}-{shard:02d}.tar") as writer:
            for number in range(first + shard, first + records, shards):
                record = texture_record(number, frames, size)
                writer.add(record.key, encode(record, "png"))
            writer.publish({"video": f"{first}-{shard}"}, {})
    return folder


def make_data(folder, records=6, evaluation=2, **options):
    """A dataset with the splits train/ and eval/."""
    make_split(folder / "train", records, **options)
    make_split(folder / "eval", evaluation, shards=1, first=1000, **{k: v for k, v in options.items() if k != "shards"})
    return folder
