"""docs/data-format.md says what the shards are: its example reads them, its tables name their fields."""

import json
import re
import tarfile

from tests.support.documents import ROOT
from tests.support.shards import make_split

TEXT = (ROOT / "docs/data-format.md").read_text()


def test_the_example_reads_a_shard_in_ten_lines(tmp_path, capsys, monkeypatch):
    shard = make_split(tmp_path / "data" / "train", records=3, shards=1) / "s0-00.tar"
    shard.rename(shard.with_name("NAME.tar"))
    monkeypatch.chdir(tmp_path)
    example = re.search(r"```python\n(.*?)```", TEXT, re.DOTALL)[1]
    assert len(example.splitlines()) <= 10
    exec(compile(example, "example", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" ", 1)[0] for line in lines] == ["test_0_0", "test_1_0", "test_2_0"]
    assert all("(16, 128, 128, 3)" in line for line in lines)
    shares = [float(line.split()[-1].rstrip("%")) for line in lines]
    assert all(2 < share < 5 for share in shares)


def test_the_schema_of_the_index_has_the_fields_that_an_index_has(tmp_path):
    index = json.loads((make_split(tmp_path, shards=1) / "s0-00.json").read_text())
    fields = {*index, *(f"records[].{name}" for name in index["records"][0])}
    schema = TEXT[TEXT.index("## The index") : TEXT.index("## KEY.json")]
    assert set(re.findall(r"^\| `([\w.\[\]]+)` \|", schema, re.MULTILINE)) == fields


def test_the_fields_of_a_records_json_are_named():
    published = ROOT / "tests/published/data"
    tar = sorted(published.rglob("*.tar"))[0]
    with tarfile.open(tar) as members:
        name = next(name for name in members.getnames() if name.endswith(".json"))
        info = json.load(members.extractfile(name))
    section = TEXT[TEXT.index("## KEY.json") :]
    assert set(info) == set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", section, re.MULTILINE))))
