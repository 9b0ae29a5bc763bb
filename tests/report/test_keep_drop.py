"""Lists of files to keep and to drop: only the same recording is dropped, nothing is deleted."""

from __future__ import annotations

import csv
import dataclasses
import io
import os
import stat
import subprocess

import pytest
from small_report import make_pair, make_scan, make_tracks

from auditor.errors import UsageError
from auditor.records import Cluster, IdenticalFiles
from auditor.report.keep_drop import (
    DROP,
    KEEP,
    REVIEW,
    SUFFIXES,
    keep_or_drop,
    list_bytes,
    quote_path,
    write_format,
)
from auditor.scoring.originals import NOTHING_TELLS


def scan_of_one_cluster(*verdicts: str, original: bool = True, **changes: object):
    """Return a scan whose first track is a pair of each verdict with one more track."""
    tracks = make_tracks(1 + len(verdicts))
    pairs = tuple(
        make_pair(tracks[0], track, 0.9, verdict)
        for track, verdict in zip(tracks[1:], verdicts, strict=True)
    )
    why = "earliest release date" if original else NOTHING_TELLS
    cluster = Cluster(tuple(t.id for t in tracks), 0.9, tracks[0].id, why)
    return make_scan(tracks=tracks, pairs=pairs, clusters=(cluster,), **changes)


def actions(result) -> dict[str, str]:
    return {row.id: row.action for row in keep_or_drop(result)}


def test_only_the_same_recording_is_dropped():
    verdicts = ("same recording", "altered recording", "shared excerpt", "identical file")
    found = actions(scan_of_one_cluster(*verdicts))
    assert list(found.values()) == [KEEP, DROP, DROP, REVIEW, REVIEW]
    assert [found[f"t{i:05}"] for i in range(5)] == [KEEP, DROP, REVIEW, REVIEW, DROP]


def test_without_an_original_everything_is_for_people():
    rows = keep_or_drop(scan_of_one_cluster("same recording", original=False))
    assert [row.action for row in rows] == [REVIEW, REVIEW]
    assert "it is not known which one to keep" in rows[0].why


def test_of_files_of_the_same_bytes_the_first_is_kept():
    scan = scan_of_one_cluster("identical file", original=False)
    one = scan.tracks[0]
    tracks = (one, dataclasses.replace(scan.tracks[1], sha256=one.sha256, path="x/2.mp3"))
    same = IdenticalFiles(one.sha256, tuple(track.id for track in tracks))
    found = actions(dataclasses.replace(scan, tracks=tracks, identical=(same,)))
    assert found == {"t00000": KEEP, "t00001": DROP}


def test_a_pair_set_aside_and_a_missing_file_are_not_dropped():
    scan = scan_of_one_cluster("same recording", "same recording")
    aside = dataclasses.replace(scan.pairs[0], flagged=False, decision="licensed")
    gone = dataclasses.replace(scan.tracks[2], missing=True)
    changed = dataclasses.replace(
        scan, pairs=(aside, scan.pairs[1]), tracks=(*scan.tracks[:2], gone)
    )
    assert actions(changed) == {"t00000": KEEP, "t00001": REVIEW, "t00002": REVIEW}


def test_csv_and_parquet_say_the_same():
    rows = keep_or_drop(scan_of_one_cluster("same recording", "shared excerpt"))
    content, left_out = list_bytes(rows, ".csv", {})
    table = list(csv.DictReader(io.StringIO(content.decode())))
    assert [(row["cluster"], row["action"]) for row in table] == [
        ("C1", "keep"),
        ("C1", "drop"),
        ("C1", "review"),
    ]
    assert left_out == []
    pq = pytest.importorskip("pyarrow.parquet")
    parquet = pq.read_table(io.BytesIO(list_bytes(rows, ".parquet", {})[0]))
    assert parquet.column_names == list(table[0])
    assert parquet["id"].to_pylist() == [row["id"] for row in table]


NASTY = (
    b"/music/it's $(touch hurt) `touch hurt`; touch hurt #.mp3",
    b"/music/-n --help.mp3",
    b'/music/\xff\xfe caf\xc3\xa9 "quoted" \\ *.mp3',
    b"/music/two\nlines.mp3",
    b"/music/../up.mp3",
    b"s3://bucket/one.mp3",
)


def test_the_script_moves_files_of_any_name_and_deletes_nothing(tmp_path):
    root = os.fsencode(tmp_path)
    paths = [root + path if path.startswith(b"/") else path for path in NASTY]
    scan = scan_of_one_cluster(*["same recording"] * len(paths))
    (tmp_path / "music").mkdir()
    for number, path in enumerate(paths[:4]):
        with open(path, "wb") as file:
            file.write(b"%d" % number)
    rows = keep_or_drop(scan)
    by_id = {f"t{i + 1:05}": path for i, path in enumerate(paths)}
    content, left_out = list_bytes(rows, ".sh", by_id)
    assert len(left_out) == 3
    script = tmp_path / "move.sh"
    script.write_bytes(content)
    folder = tmp_path / "moved files"
    taken = os.path.join(os.fsencode(folder), paths[1].lstrip(b"/"))
    os.makedirs(os.path.dirname(taken))
    with open(taken, "wb") as file:
        file.write(b"older")
    done = subprocess.run(
        ["sh", str(script), str(folder)], cwd=tmp_path, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert b"already moved, left where it is" in done.stderr
    for number in (0, 2):
        moved = os.path.join(os.fsencode(folder), paths[number].lstrip(b"/"))
        with open(moved, "rb") as file:
            assert file.read() == b"%d" % number
        assert not os.path.exists(paths[number])
    for path, expected in ((taken, b"older"), (paths[1], b"1"), (paths[3], b"3")):
        with open(path, "rb") as file:
            assert file.read() == expected
    assert not (tmp_path / "hurt").exists()
    assert not stat.S_IMODE(script.stat().st_mode) & 0o111, "it is read before it is run"


def test_the_script_needs_a_folder_and_can_be_run_again(tmp_path):
    content, _ = list_bytes([], ".sh", {})
    (tmp_path / "move.sh").write_bytes(content)
    run = ["sh", str(tmp_path / "move.sh")]
    assert subprocess.run(run, capture_output=True, check=False).returncode == 2
    for _ in range(2):
        assert subprocess.run([*run, str(tmp_path / "to")], check=False).returncode == 0


def test_a_playlist_holds_what_is_dropped():
    scan = scan_of_one_cluster("same recording", "same recording", "shared excerpt")
    by_id = {"t00001": b"/music/one.mp3", "t00002": b"/music/a\nb.mp3", "t00003": b"/music/x.mp3"}
    content, left_out = list_bytes(keep_or_drop(scan), ".m3u8", by_id)
    paths = [line for line in content.splitlines() if not line.startswith(b"#")]
    assert paths == [b"/music/one.mp3"]
    assert len(left_out) == 1


@pytest.mark.parametrize("suffix", ["", ".txt", ".SH\n"])
def test_other_formats_are_refused(suffix):
    with pytest.raises(UsageError, match=r"--keep-drop writes \.csv, .* ends in one of them"):
        write_format(suffix)
    assert all(write_format(known.upper()) == known for known in SUFFIXES if known != ".parquet")


def test_a_quote_is_one_word():
    said = subprocess.run(
        ["sh", "-c", b"printf '%s|' " + quote_path(NASTY[0])], capture_output=True, check=True
    )
    assert said.stdout == NASTY[0] + b"|"
