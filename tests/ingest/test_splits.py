"""Layouts of data sets: each says which split a file belongs to, or why it does not."""

from __future__ import annotations

import io
import os
import shutil

import pytest

from auditor.audio.encode import encode
from auditor.audio.fma_tags import load_fma
from auditor.errors import UsageError
from auditor.ingest.splits import find_splits, name_splits

np = pytest.importorskip("numpy")
SOUND = encode(0.1 * np.sin(np.arange(48_000) / 9).astype(np.float32), codec="wav")


def write(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(SOUND)


def found(dataset, tmp_path, **how) -> dict[str, list[str]]:
    splits = find_splits(str(dataset), unpack_to=tmp_path / "unpacked", **how)
    return {
        split.name: sorted(os.fsdecode(os.path.basename(root)) for root in split.collection.roots)
        for split in splits
    }


def test_folders(tmp_path):
    write(tmp_path / "data", "Training/a.wav", "TEST/b.wav", "dev/c.wav", "other/d.wav")
    assert found(tmp_path / "data", tmp_path) == {
        "train": ["Training"],
        "test": ["TEST"],
        "val": ["dev"],
    }
    write(tmp_path / "data", "train/e.wav")
    with pytest.raises(UsageError, match="two folders for train: Training and train"):
        found(tmp_path / "data", tmp_path)


def test_a_table_of_splits(tmp_path):
    write(tmp_path, "audio/a.wav", "audio/b.wav", "audio/c.wav")
    table = tmp_path / "s.csv"
    table.write_text("file;Subset\na.wav;train\nb.wav;valid\nc.wav;Test\ngone.wav;test\n")
    assert found(table, tmp_path, audio=tmp_path / "audio") == {
        "train": ["a.wav"],
        "val": ["b.wav"],
        "test": ["c.wav"],
    }
    table.write_text("file,split\na.wav,train\n")
    with pytest.raises(UsageError, match="no two of train, val and test, but one value only"):
        found(table, tmp_path, audio=tmp_path / "audio")
    table.write_text("file,split\na.wav,train\nb.wav,test\nc.wav,unused\n")
    with pytest.raises(UsageError, match="1 rows are of no known split, such as 'unused'"):
        found(table, tmp_path, audio=tmp_path / "audio")
    table.write_text("file,n\na.wav,1\n")
    with pytest.raises(UsageError, match="has no column that says which split"):
        found(table, tmp_path)


def test_mtg_jamendo(tmp_path):
    write(tmp_path, "audio/14/214.mp3", "audio/15/215.low.mp3", "audio/16/216.mp3")
    head = "TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS\n"
    for name, path in (("train", "14/214"), ("validation", "15/215"), ("test", "16/216")):
        row = f"track_1\tartist_1\talbum_1\t{path}.mp3\t124.6\tgenre---punk\tmood---dark\n"
        (tmp_path / "split").mkdir(exist_ok=True)
        (tmp_path / "split" / f"autotagging-{name}.tsv").write_text(head + row)
    assert found(tmp_path / "split", tmp_path, audio=tmp_path / "audio") == {
        "train": ["214.mp3"],
        "val": ["215.low.mp3"],
        "test": ["216.mp3"],
    }
    named = name_splits(
        str(tmp_path / "split/autotagging-train.tsv"),
        str(tmp_path / "split/autotagging-test.tsv"),
        audio=tmp_path / "audio",
    )
    assert [split.collection.roots for split in named] == [
        (os.fsencode(tmp_path / "audio/14/214.mp3"),),
        (os.fsencode(tmp_path / "audio/16/216.mp3"),),
    ]


def test_gtzan(tmp_path):
    genres = "blues classical country disco hiphop jazz metal pop reggae rock".split()
    write(tmp_path / "genres", *(f"{g}/{g}.0000{i}.wav" for g in genres for i in range(3)))
    with pytest.raises(UsageError, match="folders of GTZAN, which say nothing of splits"):
        found(tmp_path / "genres", tmp_path)
    for i, name in enumerate(("train", "valid", "test")):
        lines = "".join(f"{g}/{g}.0000{i}.wav\n" for g in genres)
        (tmp_path / "genres" / f"{name}_filtered.txt").write_text(lines)
    splits = found(tmp_path / "genres", tmp_path)
    assert {name: len(files) for name, files in splits.items()} == {
        "train": 10,
        "val": 10,
        "test": 10,
    }
    assert splits["val"][0] == "blues.00001.wav"


def test_fma(tmp_path):
    write(tmp_path, *(f"fma_small/000/00000{i}.mp3" for i in (2, 3, 5, 7)))
    (tmp_path / "fma_metadata").mkdir()
    (tmp_path / "fma_metadata/tracks.csv").write_text(
        ",set,set,track,artist\n,split,subset,title,name\ntrack_id,,,,\n"
        "2,training,small,A,B\n3,validation,small,C,D\n5,test,small,E,F\n"
    )
    (tmp_path / "fma_metadata/genres.csv").write_text("genre_id,parent,title\n1,0,Rock\n")
    metadata = load_fma(tmp_path / "fma_metadata")
    assert metadata.track(5).split == "test"
    assert found(tmp_path / "fma_small", tmp_path, fma=metadata) == {
        "train": ["000002.mp3"],
        "val": ["000003.mp3"],
        "test": ["000005.mp3"],
    }
    with pytest.raises(UsageError, match="holds files of 0 split of FMA; two are needed"):
        found(tmp_path / "fma_metadata", tmp_path, fma=metadata)


@pytest.mark.parametrize("layout", ["arrow", "parquet"])
def test_hugging_face(tmp_path, layout):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    folder = tmp_path / "saved"
    folder.mkdir()
    for name, hostile in (("train", "../../evil\n.wav"), ("test", "b.mp3"), ("validation", None)):
        audio = [{"bytes": SOUND, "path": hostile}, {"bytes": SOUND[:-2], "path": "x"}]
        table = pa.table({"label": [1, 2], "audio": audio})
        if layout == "arrow":
            (folder / "dataset_dict.json").write_text('{"splits": ["train"]}')
            (folder / name).mkdir()
            file = str(folder / name / "data-00000-of-00001.arrow")
            with pa.OSFile(file, "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
                writer.write_table(table)
        else:
            pq.write_table(table, folder / f"{name}-00000-of-00001.parquet")
    first = found(folder, tmp_path)
    assert set(first) == {"train", "val", "test"}
    assert all(len(files) == 2 for files in first.values())
    unpacked = sorted(path for path in (tmp_path / "unpacked").rglob("*") if path.is_file())
    assert len(unpacked) == 6
    assert all(".." not in path.name and "\n" not in path.name for path in unpacked)
    assert unpacked[0].read_bytes() in (SOUND, SOUND[:-2])
    times = [path.stat().st_mtime_ns for path in unpacked]
    assert found(folder, tmp_path) == first
    assert [path.stat().st_mtime_ns for path in unpacked] == times


def test_hugging_face_without_audio(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    for name in ("train", "test"):
        pq.write_table(pa.table({"text": ["a"]}), tmp_path / f"{name}-00000-of-00001.parquet")
    with pytest.raises(UsageError, match="has no column of audio.*Its columns are text"):
        found(tmp_path, tmp_path)
    (tmp_path / "test-00000-of-00001.parquet").write_bytes(io.BytesIO(b"none").getvalue())
    shutil.rmtree(tmp_path / "unpacked", ignore_errors=True)


def test_no_layout(tmp_path):
    write(tmp_path / "music", "a.wav")
    with pytest.raises(UsageError, match="has no layout that is known"):
        found(tmp_path / "music", tmp_path)
    with pytest.raises(UsageError, match="does not exist. Give the folder of a data set"):
        found(tmp_path / "nothing", tmp_path)
