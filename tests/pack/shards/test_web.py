"""Reading shards from web servers, by prefix and by lists with braces."""

import io
import os

import pytest

from pack.shards import store as stores
from pack.shards.location import RemotePath, parse_location
from pack.shards.shard import ShardWriter, list_shards, read_record, read_shards
from pack.shards.store import StoreError
from tests.support.programs import succeeds
from tests.support.servers import web
from tests.support.shards import make_data
from tests.train.data.test_stream import content
from tools import transfer
from tools.cli import MissingFile, UserError
from train.config import Config
from train.data.plan import Slot
from train.data.samples import Samples
from train.data.sources import expand, load_split, parse_sources
from train.data.stream import Stream

TRAIN, EVAL = "train/s0-{00..01}.tar", "eval/s1000-00.tar"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("web") / "data", records=4, shards=2, frames=12, size=72)


@pytest.fixture
def served(data, monkeypatch):
    monkeypatch.setattr(stores, "ATTEMPTS", 2)
    with web.serve(data) as server:
        yield server


def load(source, split="train"):
    return load_split(Config(data_dir=source, tile=64), split)


def samples(records, workers=0):
    stream = Stream(Samples(records, 12, 64, seed=1), workers)
    found = [content(sample) for sample in stream.samples([Slot(1, n, n % len(records)) for n in range(8)])]
    stream.close()
    return found


@pytest.mark.slow
def test_workers_read_single_records_from_a_web_server_and_get_the_samples_of_the_folder(data, served):
    local, remote = load(str(data)), load(f"{served.url}/")
    assert remote.fingerprint() == local.fingerprint() and remote.remote
    served.requests.clear()
    assert samples(remote, workers=1) == samples(local)
    assert len(served.requests) == 8 and all(asked.startswith("bytes=") for _, asked in served.requests)


def test_a_record_is_one_request_of_its_own_bytes(data, served):
    for shard, ours in zip(list_shards(RemotePath(f"{served.url}/train")), list_shards(data / "train"), strict=True):
        for entry in shard.records:
            served.requests.clear()
            assert read_record(shard, entry) == read_record(ours, entry)
            expected = f"bytes={entry.offset}-{entry.offset + entry.length - 1}"
            assert [asked for _, asked in served.requests] == [expected]


@pytest.mark.parametrize("local", [True, False])
def test_lists_with_braces_name_the_shards_of_both_splits_without_a_listing(local, data, served):
    root, served.lists = data if local else served.url, False
    source = f"{root}/{TRAIN},{root}/{EVAL}"
    for split in ("train", "eval"):
        assert load(source, split).fingerprint() == load(str(data), split).fingerprint()
    with pytest.raises(UserError, match=r"names no shards in a folder eval/, expected some: add them or .*--skip-eval"):
        load(f"{root}/{TRAIN}", "eval")


def test_records_that_a_folder_excludes_are_left_out_of_a_list_too(data, served, capsys):
    (data / "train" / "excluded.txt").write_text("test_0_0\n")
    try:
        assert len(load(f"{served.url}/{TRAIN}")) == 3 and "1 of 4 records is excluded" in capsys.readouterr().out
    finally:
        (data / "train" / "excluded.txt").unlink()


def test_lists_of_stores_and_folders_expand_and_mix_with_weights():
    named = parse_sources("s3://b/x/{train,eval}/a-{8..11}.tar*0.7, data*0.3")
    assert [source.weight for source in named] == [0.7, 0.3] and str(named[0].location) == "s3://b/x"
    tars = [str(tar) for tar in named[0].tars]
    assert tars == [f"s3://b/x/{split}/a-{n}.tar" for split in ("train", "eval") for n in (8, 9, 10, 11)]
    assert [tar.name for tar in expand("d/train/f-{000..002}.tar")] == ["f-000.tar", "f-001.tar", "f-002.tar"]
    assert expand("s3://bucket/prefix") == expand("data") == ()


@pytest.mark.parametrize(
    ("text", "line"),
    {
        "train/f-{000..}.tar": r"-i .*f-\{000\.\.\}\.tar: does not expand",
        "train/f-{000..041.tar": "does not expand",
        "train/f-{0..99999999}.tar": "names more than 1000000 shards",
        "train/f-{-99999999..99999999}.tar": "names more than 1000000 shards",
        "train/f-{0.." + "9" * 100 + "}.tar": "names more than 1000000 shards",
        "train/f-" + "{" * 100 + "}" * 100 + ".tar": "does not expand",
        "films/f-{0..1}.tar": r"names films/f-0.tar, expected shards in a folder train/ or eval/",
        "train/f-{0..1}.zip": r"names train/f-0.zip, expected shards",
        "train/f-{0,0}.tar": "names the same source twice",
    }.items(),
)
def test_a_list_that_does_not_expand_to_shards_is_one_line(text, line):
    with pytest.raises(UserError, match=line):
        parse_sources(text)


def test_a_missing_index_or_tar_of_a_list_is_named(data, served):
    with pytest.raises(UserError, match=r"/train/s0-02.tar: its index s0-02.json is missing: copy both, or shorten"):
        load(f"{served.url}/train/s0-{{00..02}}.tar")
    with pytest.raises(UserError, match=r"train/s0-02.tar: its index s0-02.json is missing"):
        load(f"{data}/train/s0-{{00..02}}.tar")


def test_a_server_without_ranges_is_one_line_and_no_shard_is_downloaded(data, monkeypatch):
    with web.serve(data, web.Plain) as plain:
        for source in (plain.url, f"{plain.url}/{TRAIN}"):
            with pytest.raises(StoreError, match=r"/s0-0\d\.\w+: the server ignores ranges, which .*: use one"):
                load(source)
        assert len(plain.requests) < 30  # and none of them was repeated
        shard = list_shards(data / "train")[0]
        with pytest.raises(StoreError, match="ignores ranges"):
            stores.read_range(RemotePath(f"{plain.url}/train/{shard.tar.name}"), 0, 512)


def test_a_server_that_lists_nothing_or_refuses_is_one_line_with_the_remedy(served):
    with pytest.raises(MissingFile, match=r"/nothing/train: .*no such.*; name the shards instead, as .*00000\.\.00041"):
        load(f"{served.url}/nothing")
    served.lists = False
    with pytest.raises(StoreError, match=r"refuses.*; name the shards instead, as http://.*/train/NAME-\{00000"):
        load(served.url)
    served.refuses = "s0-01"
    with pytest.raises(StoreError, match="the store refuses"):
        load(f"{served.url}/{TRAIN}")


def test_a_file_that_is_shorter_than_asked_gives_what_it_has(data, served):
    path = RemotePath(f"{served.url}/train/s0-00.tar")
    size = (data / "train" / "s0-00.tar").stat().st_size
    assert stores.file_size(path) == size and stores.file_size(RemotePath(f"{served.url}/train/none.tar")) is None
    assert len(stores.client(path).cat_file(path.url, start=size - 10, end=size + 10)) == 10
    assert stores.client(path).cat_file(path.url, start=size + 5, end=size + 9) == b""


def test_a_server_that_sends_more_than_was_asked_for_is_refused(served):
    served.excess = 7
    path = RemotePath(f"{served.url}/train/s0-00.tar")
    with pytest.raises(StoreError, match="the server sends more than the 512 bytes that were asked for"):
        stores.read_range(path, 0, 512)


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pack.shards.ranged_http", None)
    stores._client.cache_clear()
    with pytest.raises(UserError, match=r"https:// cannot be read: .*: make setup EXTRAS=http"):
        list_shards(parse_location("https://example.org/train"))


def page(served, monkeypatch, text):
    """The server answers every request for a folder with this page."""

    def list_directory(self, _):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        return io.BytesIO(text)

    monkeypatch.setattr(web.Ranged, "list_directory", list_directory)


def test_a_page_of_gigabytes_is_not_read_to_its_end(served, monkeypatch):
    monkeypatch.setattr("pack.shards.ranged_http.LARGEST_PAGE", 10_000)
    page(served, monkeypatch, b"<a href='s0-00.json'>" + b" " * 20_000)
    with pytest.raises(StoreError, match="sends more than the 10000 bytes"):
        stores.list_files(RemotePath(f"{served.url}/train"))


def test_a_page_names_the_files_below_its_own_folder_in_any_spelling(served, monkeypatch):
    links = [
        "s0-00.json",
        "/train/s0-00.tar",
        f"{served.url}/train/s0-01.json",
        "../eval/e.tar",
        "http://x/y.tar",
        "?C=M",
    ]
    spelled = (f"<A class='n' HREF={quote}{link}{quote}>x</A>" for link, quote in zip(links, "'\" '\" '", strict=False))
    page(served, monkeypatch, " ".join(spelled).encode() + b'<a href="..\\x.tar">')
    with pytest.raises(UserError, match="cannot be a file name"):
        stores.list_files(RemotePath(f"{served.url}/train"))
    page(served, monkeypatch, " ".join(f"<a href='{link}'>" for link in links).encode())
    assert set(stores.list_files(RemotePath(f"{served.url}/train"))) == {"s0-00.json", "s0-00.tar", "s0-01.json"}


def test_a_name_is_that_of_the_file_however_a_url_spells_it(tmp_path, monkeypatch):
    monkeypatch.setattr(stores, "ATTEMPTS", 2)
    names = ["My Film", "a%20b", "100%", "r&d;+(1)", "#1?", "映画"]
    folder = tmp_path / "my data" / "train"
    for number, name in enumerate(names):
        with ShardWriter(folder / f"{name}.tar") as writer:
            writer.add(f"k_{number}_0", {"json": b"{}"})
            writer.publish({}, {})
    with web.serve(tmp_path) as server:
        for spelling in ("my data", "my%20data"):
            split = parse_location(f"{server.url}/{spelling}/train")
            assert [shard.name for shard in list_shards(split)] == sorted(names)
            assert all(read_record(shard, shard.records[0]) == {"json": b"{}"} for shard in list_shards(split))
        listed = expand(f"{server.url}/my data/train/{{My Film,My%20Film,a%2520b}}.tar")
        assert [shard.name for shard in read_shards(listed)] == ["My Film", "My Film", "a%20b"]
        succeeds(transfer.main, "-i", f"{server.url}/my data", "-o", tmp_path / "copy", "--split", "train")
    assert sorted(path.name for path in (tmp_path / "copy/train").iterdir()) == sorted(os.listdir(folder))


def test_the_name_of_a_server_is_not_percent_encoded():
    assert str(parse_location("https://例え.jp/my data/映画")) == "https://例え.jp/my%20data/%E6%98%A0%E7%94%BB"
    assert str(parse_location("https://例え.jp")) == "https://例え.jp"


@pytest.mark.parametrize("name", ["..%2fevil", "%2e%2e%5Cevil", "%2Fevil", "a%00b", "a%0Ab", "%1b[2J", "%FF", "%C2%85"])
def test_a_name_that_decodes_to_a_path_or_to_no_text_is_refused(served, monkeypatch, name):
    page(served, monkeypatch, f"<a href='{name}.tar'>".encode())
    with pytest.raises(UserError, match="cannot be a file name"):
        stores.list_files(RemotePath(f"{served.url}/train"))
    assert "/" not in RemotePath(f"{served.url}/train/{name}.tar").name


def test_links_that_lead_nowhere_are_no_files(served, monkeypatch):
    page(
        served,
        monkeypatch,
        b"<a href='http://[x/y.tar'><a href='//[::1/a.tar'><a href='s0-00.&#x74;ar'><a href='&#0;'>",
    )
    assert set(stores.list_files(RemotePath(f"{served.url}/train"))) == {"s0-00.tar"}


def test_a_size_of_too_many_digits_is_one_line(served, monkeypatch):
    send = web.Ranged.send_header
    monkeypatch.setattr(
        web.Ranged,
        "send_header",
        lambda self, name, value: send(self, name, f"bytes 0-0/{'9' * 5000}" if name == "Content-Range" else value),
    )
    with pytest.raises(StoreError, match="does not say the size"):
        stores.file_size(RemotePath(f"{served.url}/train/s0-00.tar"))
