"""What the tables of a recording say."""

from pack.video.bitstream.program_tables import Kind, Tables
from pack.video.bitstream.recording import first_tables
from tests.support.media.videos import film


def test_a_map_with_a_wrong_check_ends_nothing(tmp_path):
    data = film(tmp_path / "a.ts", 1, "mpeg2video", "mp2").read_bytes()
    with open(film(tmp_path / "b.ts", 1), "rb") as file:
        tables = first_tables(file, 188)
    at = next(n for n in range(0, len(data), 188) if data[n + 1 : n + 3] == b"\x50\x00")  # of the map, 4096
    row = bytearray(data[at : at + 188])
    for place, whole in ((180, True), (17, False)):  # in the padding, in the type of the picture
        row[place] ^= 1
        assert bool(tables.add(bytes(row), 0)) == whole


def test_a_map_without_a_picture_is_a_pause():
    picture = Kind(27)
    tables = Tables({16: {256: picture}}, {256: picture}, 256, 16, {16})
    assert tables._read_map(16, {257: Kind(15)}, 0) is None
    assert tables.added == {257: (0, Kind(15))}
