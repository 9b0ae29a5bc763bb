"""Tests of FMA's metadata, on small files with the layout and the quirks of the real ones."""

from __future__ import annotations

import csv
import dataclasses
import os
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.audio.fma_tags import FmaTrack, load_fma, track_id_from_path
from auditor.errors import UsageError
from auditor.records import Track

COLUMNS = [
    ("album", "date_released"),
    ("album", "information"),
    ("album", "title"),
    ("artist", "bio"),
    ("artist", "name"),
    ("set", "split"),
    ("set", "subset"),
    ("track", "date_created"),
    ("track", "genre_top"),
    ("track", "genres"),
    ("track", "genres_all"),
    ("track", "license"),
    ("track", "title"),
]
GENRES = """genre_id,#tracks,parent,title,top_level
12,32923,0,Rock,12
21,12730,0,Hip-Hop,21
25,9261,12,Punk,12
89,1858,25,Post-Punk,12
100,1,101,Loop A,100
101,1,100,Loop B,100
103,5,9999,Orphan,103
"""
TRACKS = {
    2: {
        ("album", "date_released"): "2009-01-05 00:00:00",
        ("album", "information"): '<p>Many\nlines, "quoted"</p>',
        ("album", "title"): "AWOL - A Way Of Life",
        ("artist", "name"): "AWOL",
        ("set", "subset"): "small",
        ("track", "date_created"): "2008-11-26 01:48:12",
        ("track", "genre_top"): "Hip-Hop",
        ("track", "genres"): "[21]",
        ("track", "genres_all"): "[21]",
        ("track", "license"): "Attribution-NonCommercial-ShareAlike 3.0 International",
        ("track", "title"): "Food",
    },
    3: {
        ("artist", "bio"): "x" * 300_000,
        ("artist", "name"): "Ünder\u202e",
        ("track", "date_created"): "2010-01-02 00:00:00",
        ("track", "genres"): "[21, 25, 89]",
        ("track", "genre_top"): "Rock",
        ("track", "title"): '<i>Two\nlines</i> & "more"',
    },
    5: {("track", "genres"): "[25, 21]"},
    10: {("track", "genres"): "[]", ("track", "genres_all"): "[89, 25, 12]"},
    20: {("track", "genre_top"): "Folk", ("track", "genres"): "[9876]"},
    26: {("track", "genres"): "[101]"},
    30: {("track", "genres"): "[103]"},
    46: {},
}


def write(folder, *, columns=COLUMNS, tracks=TRACKS, genres=GENRES):
    with open(folder / "tracks.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["", *(upper for upper, _ in columns)])
        writer.writerow(["", *(lower for _, lower in columns)])
        writer.writerow(["track_id", *("" for _ in columns)])
        for track_id, cells in tracks.items():
            writer.writerow([track_id, *(cells.get(column, "") for column in columns)])
    (folder / "genres.csv").write_text(genres, encoding="utf-8")
    return folder


def test_a_track_with_everything(tmp_path):
    fma = load_fma(write(tmp_path))
    assert len(fma) == len(TRACKS)
    assert fma.track(2) == FmaTrack(
        id=2,
        title="Food",
        artist="AWOL",
        album="AWOL - A Way Of Life",
        genre="Hip-Hop",
        genres=("Hip-Hop",),
        date="2009-01-05",
        licence="Attribution-NonCommercial-ShareAlike 3.0 International",
        subset="small",
    )
    assert fma.track(4) is None


def test_quirks(tmp_path):
    fma = load_fma(write(tmp_path))
    assert fma.track(3).title == '<i>Two lines</i> & "more"'
    assert fma.track(3).artist == "Ünder"
    assert fma.track(3).date == "2010-01-02"
    assert fma.track(46) == FmaTrack(46, "", "", "", "", (), "", "", "")


@pytest.mark.parametrize(
    ("track_id", "genre", "genres"),
    [
        (3, "Rock", ("Rock", "Punk", "Post-Punk")),  # the deepest below genre_top
        (5, "Rock", ("Rock", "Punk")),  # no genre_top: the first one listed
        (10, "Rock", ("Rock", "Punk", "Post-Punk")),  # only genres_all
        (20, "Folk", ("Folk",)),  # a genre that genres.csv does not know
        (26, "Loop A", ("Loop A", "Loop B")),  # a cycle ends
        (30, "Orphan", ("Orphan",)),
    ],
)
def test_genre_paths(tmp_path, track_id, genre, genres):
    track = load_fma(write(tmp_path)).track(track_id)
    assert (track.genre, track.genres) == (genre, genres)


def test_columns_may_be_absent_or_in_another_order(tmp_path):
    columns = [c for c in reversed(COLUMNS) if c[1] not in ("genre_top", "license", "subset")]
    track = load_fma(write(tmp_path, columns=columns)).track(2)
    assert (track.title, track.genre, track.licence) == ("Food", "Hip-Hop", "")


def test_every_text_field_fits_a_track():
    names = {field.name for field in dataclasses.fields(FmaTrack)} - {"id", "subset", "split"}
    assert names < {field.name for field in dataclasses.fields(Track)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"tracks.csv, line 0: no column 'track' over 'title'"),
        ("a,b\nc,d\n", r"tracks.csv, line 2: no column 'track' over 'title'"),
        (",track,artist\n,title,name\nid,,\n", "line 3: 'id' in place of 'track_id'"),
        (",track,artist\n,title,name\ntrack_id,,\n1,a\n", "line 4: 2 cells in place of 3"),
        (",track,artist\n,title,name\ntrack_id,,\nx,a,b\n", "line 4: 'x' in place of a track num"),
        (",track,artist\n,title,name\ntrack_id,,\n١,a,b\n", "in place of a track number"),
        (",track,artist\n,title,name\ntrack_id,,\n1,a,b\n1,a,b\n", "line 5: track 1 appears twice"),
        (',track,artist\n,title,name\ntrack_id,,\n1,"a\n\nb', "line 6: unexpected end of data"),
        (',track,artist\n,title,name\ntrack_id,,\n1,"a"b,c\n', "line 4: ',' expected after"),
        (",track,artist\n,title,name\ntrack_id,,\n1,a," + "b" * 5_000_000, "line 4: field larger"),
        (
            ",track,artist,track\n,title,name,genres\ntrack_id,,,\n1,a,b,__import__('os')\n",
            'line 4: "__import__.*in place of genre ids like',
        ),
        (
            ',track,artist,track\n,title,name,genres\ntrack_id,,,\n1,a,b,"[1,]"\n',
            r"line 4: '\[1,\]' in place of genre ids",
        ),
    ],
)
def test_malformed_tracks(tmp_path, text, message):
    write(tmp_path)
    (tmp_path / "tracks.csv").write_text(text, encoding="utf-8")
    limit = csv.field_size_limit()
    with pytest.raises(UsageError, match=message + ".*fma_metadata.zip"):
        load_fma(tmp_path)
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize(
    ("genres", "message"),
    [
        ("", "genres.csv, line 0: no column 'genre_id'"),
        ("genre_id,title\n", "line 1: no column 'parent'"),
        ("genre_id,parent,title\n1,0\n", "line 2: 2 cells in place of 3"),
        ("genre_id,parent,title\n1,x,Rock\n", "line 2: '1' and 'x' in place of genre ids"),
    ],
)
def test_malformed_genres(tmp_path, genres, message):
    with pytest.raises(UsageError, match=message):
        load_fma(write(tmp_path, genres=genres))


def test_absent_files(tmp_path):
    with pytest.raises(UsageError, match="tracks.csv: No such file.*unpacked folder"):
        load_fma(tmp_path)
    write(tmp_path)
    (tmp_path / "genres.csv").unlink()
    with pytest.raises(UsageError, match="genres.csv: No such file"):
        load_fma(tmp_path)


def test_bytes_that_are_not_utf8_harm_only_their_cell(tmp_path):
    write(tmp_path)
    content = (tmp_path / "tracks.csv").read_bytes()
    (tmp_path / "tracks.csv").write_bytes(b"\xef\xbb\xbf" + content.replace(b"Food", b"F\xff\0d"))
    fma = load_fma(tmp_path)
    assert fma.track(2).title == "F\ufffdd"
    assert len(fma) == len(TRACKS)


@pytest.mark.parametrize(
    ("path", "track_id"),
    [
        ("fma_small/000/000002.mp3", 2),
        ("/data/fma_full/155/155320.mp3", 155320),
        (b"/data/\xff/155/155320.MP3", 155320),
        ("000/000002.mp3", 2),
        ("fma_small/001/000002.mp3", None),
        ("fma_small/000/00002.mp3", None),
        ("fma_small/000/0000002.mp3", None),
        ("fma_small/000/000002.flac", None),
        ("fma_small/000/000002.mp3.part", None),
        ("fma_small/x000/000002.mp3", None),
        ("fma_small/000/٠٠٠٠٠٢.mp3", None),
        ("fma_small/000/000002.mp3\n", None),
        ("000002.mp3", None),
    ],
)
def test_track_id_from_path(path, track_id):
    assert track_id_from_path(path) == track_id


@given(st.integers(0, 999_999), st.binary(max_size=20).filter(lambda b: b"\0" not in b))
def test_every_number_has_its_path(number, folder):
    stem = f"{number:06d}".encode()
    path = os.path.join(folder, stem[:3], stem + b".mp3")
    assert track_id_from_path(path) == number


def test_ten_thousand_rows_load_quickly(tmp_path):
    rng = random.Random(0)
    tracks = {
        n: {**TRACKS[2], ("track", "genres"): str(rng.sample([12, 21, 25, 89], 2))}
        for n in range(10_000)
    }
    write(tmp_path, tracks=tracks)
    started = time.perf_counter()
    fma = load_fma(tmp_path)
    assert time.perf_counter() - started < 5
    assert fma.track(9_999).artist == "AWOL"
