"""Lists of paths: tables, playlists and what is wrong with them."""

from __future__ import annotations

import os

import pytest

from auditor.errors import UsageError
from auditor.ingest import path_lists
from auditor.ingest.path_lists import read_path_list


def paths(folder, name, data):
    file = folder / name
    file.write_bytes(data if isinstance(data, bytes) else data.encode())
    return [os.path.relpath(entry.path, os.fsencode(folder)) for entry in read_path_list(file)]


@pytest.mark.parametrize(
    ("name", "data", "found"),
    [
        ("a.csv", "path,split\na.mp3,train\nb/c.mp3,test\n", [b"a.mp3", b"b/c.mp3"]),
        ("a.csv", "\ufeffSplit;Filename\r\ntrain;a,b.mp3\r\n", [b"a,b.mp3"]),
        ("a.tsv", "track\tPATH\n1\t00/1.mp3\n", [b"00/1.mp3"]),
        ("a.csv", "a.mp3\nb.mp3\n", [b"a.mp3", b"b.mp3"]),
        ("a.csv", b"path\na\xff.mp3\n", [b"a\xff.mp3"]),
        ("a.m3u", b"#EXTM3U\n#EXTINF:1,x\na.mp3\r\n\n../b\xe9.mp3\n", [b"a.mp3", b"../b\xe9.mp3"]),
        ("a.m3u8", "file:///x/a%20b.mp3\n", None),
        ("a.txt", "a.mp3\n=2+3.mp3\n", [b"a.mp3", b"=2+3.mp3"]),
    ],
)
def test_lists_are_read(tmp_path, name, data, found):
    if found is None:
        file = tmp_path / name
        file.write_text(data)
        assert [entry.path for entry in read_path_list(file)] == [b"/x/a b.mp3"]
    else:
        assert paths(tmp_path, name, data) == found


def test_other_columns_are_kept_clean(tmp_path):
    file = tmp_path / "a.csv"
    file.write_bytes(b'path,Split,prompt\na.mp3,train,"two\nlines \xe2\x80\xae"\n')
    (entry,) = read_path_list(file)
    assert entry.values == {"split": "train", "prompt": "two lines"}


def test_urls_stay_as_they_are(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("s3://bucket/a.mp3\n")
    assert read_path_list(file)[0].path == b"s3://bucket/a.mp3"


@pytest.mark.parametrize(
    ("name", "data", "match"),
    [
        ("a.csv", "x,y\na,b\n", "line 1: no column holds paths; one of path, file"),
        ("a.csv", "path,y\n,b\n", "line 2: the path is empty"),
        ("a.csv", 'path,y\n"a,b\n', "line 2: unexpected end of data"),
        ("a.txt", b"a\0b\n", "names a.*, which is no path"),
        ("a.parquet", b"PAR1 this is none", "is not Parquet that can be read"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, name, data, match):
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    with pytest.raises(UsageError, match=match):
        paths(tmp_path, name, data)


def test_parquet(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    file = tmp_path / "a.parquet"
    columns = {"audio": [{"path": "a.mp3", "bytes": b"x"}, {"path": "b.mp3", "bytes": None}]}
    columns |= {"split": ["train", "test"], "vector": [[1.0], [2.0]], "n": [1, None]}
    pq.write_table(pa.table(columns), file)
    first, second = read_path_list(file)
    assert os.path.basename(first.path) == b"a.mp3"
    assert (first.values, second.values) == ({"split": "train", "n": "1"}, {"split": "test"})
    pq.write_table(pa.table({"x": [1]}), file)
    with pytest.raises(UsageError, match="no column holds paths"):
        read_path_list(file)


def test_limits(tmp_path, monkeypatch):
    monkeypatch.setattr(path_lists, "MAX_ENTRIES", 2)
    with pytest.raises(UsageError, match="more than 2 entries"):
        paths(tmp_path, "a.txt", "a\nb\nc\n")
    monkeypatch.setattr(path_lists, "MAX_LIST_BYTES", 1 << 20)
    with pytest.raises(UsageError, match="larger than 1 MiB"):
        paths(tmp_path, "a.txt", "a\n" * (1 << 20))
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(UsageError, match="is not a regular file"):
        read_path_list(tmp_path / "pipe.txt")
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_path_list(tmp_path / "none.txt")
