import numpy as np
import pytest

from pack.shards.record import MASK_LEVELS, Record, decode, encode, frame_count, record_key


def example(frames=3, size=16, seed=0):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (frames, size, size, 3), dtype=np.uint8)
    masks = rng.choice(np.array(MASK_LEVELS, np.uint8), (frames, size, size))
    return Record(record_key("clip", "Any_B", "a.mp4", 1, 0), pixels, masks, {"divergence": 2.5})


def test_keys_are_named_as_iw3_names_its_folders():
    # echo -n bikes.mp4iw3 | md5sum
    assert record_key("p", "Any_B", "bikes.mp4", 3, 0) == "p_Any_B_6ae29988_3_0"
    assert record_key("", "Any_B", "bikes.mp4", 3, 1) == record_key("p", "Any_B", "bikes.mp4", 3, 1)[2:]


@pytest.mark.parametrize("image_format", ["webp", "png"])
def test_lossless_formats_give_back_every_pixel(image_format):
    record = example()
    back = decode(record.key, encode(record, image_format))
    assert np.array_equal(back.frames, record.frames)
    assert np.array_equal(back.masks, record.masks)
    assert back.info == record.info


def test_jpeg_keeps_masks_exact_and_smooth_frames_near():
    ramp = np.broadcast_to(np.arange(0, 256, 4, dtype=np.uint8)[None, None, :, None], (2, 64, 64, 3))
    record = Record("k", ramp, example(2, 64).masks, {})
    back = decode("k", encode(record, "jpeg"))
    assert np.array_equal(back.masks, record.masks)
    assert np.abs(back.frames.astype(int) - ramp).max() <= 3


def test_chosen_frames_come_in_the_order_asked_for():
    record = example()
    back = decode(record.key, encode(record), [2, 0])
    assert np.array_equal(back.frames, record.frames[[2, 0]])
    assert np.array_equal(back.masks, record.masks[[2, 0]])
    assert frame_count(record.key, encode(record)) == 3


@pytest.mark.parametrize("lost", ["json", "00_C.webp", "02_M.png"])
def test_a_record_that_lacks_a_member_is_refused(lost):
    members = encode(example())
    del members[lost]
    with pytest.raises(ValueError, match="expected one json and a mask for every frame"):
        decode("k", members)
