"""Which tracks are of one source, and how many pairs that makes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from small_catalogue import make_track

from auditor.catalogue.sources import MAX_FOLDER, n_pairs_of_one_source, tag_source, track_sources


def track(number, **fields):
    return replace(make_track(str(number)), **{"artist": "", "album": "", **fields})


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"artist": "The  Band"}, {"artist": "the band "}, True),
        ({"artist": "Ä"}, {"artist": "ä"}, True),
        ({"artist": "A", "album": "X"}, {"artist": "A", "album": "Y"}, True),
        ({"artist": "A", "album": "X"}, {"artist": "B", "album": "X"}, False),
        ({"artist": "Various Artists", "album": "X"}, {"album": "x"}, True),
        ({"album": "X"}, {"artist": "X"}, False),
        ({"path": "/m/a/1.ogg"}, {"path": "/m/a/2.ogg"}, True),
        ({"path": "/m/a/1.ogg"}, {"path": "/m/b/1.ogg"}, False),
        ({"path": "/m/a/1.ogg", "artist": "A"}, {"path": "/m/a/2.ogg"}, False),
    ],
)
def test_artist_comes_before_album_and_album_before_folder(one, other, same):
    a, b = track_sources([track(1, **one), track(2, **other)])
    assert (a == b) is same


def test_a_folder_of_very_many_tracks_says_nothing():
    heap = [track(i, path=f"/heap/{i}.ogg") for i in range(MAX_FOLDER)]
    assert len(set(track_sources(heap))) == 1
    heap.append(track(MAX_FOLDER, path="/heap/last.ogg"))
    assert len(set(track_sources(heap))) == len(heap)


def test_a_track_whose_tags_name_nobody_has_no_source_by_tag():
    assert tag_source(track(1, artist="Unknown Artist", album=" ")) == ""
    assert tag_source(track(1, artist="n/a", album="X")) == "album x"


def test_pairs_of_one_source_are_counted_without_making_them():
    sources = ["a"] * 1000 + ["b"] * 3 + ["c"]
    assert n_pairs_of_one_source(sources) == 1000 * 999 // 2 + 3
    assert n_pairs_of_one_source([]) == 0
