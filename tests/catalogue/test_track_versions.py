"""Track versions: a sorted mapping in arrays that says which tracks two states share."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.catalogue.embedding_table import TrackVersions, encode_ids
from auditor.evidence.alignment.aligner import ByteCache

NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1)
VERSIONS = st.dictionaries(NAMES, st.integers(0, 2**32 - 1), max_size=12)


@given(VERSIONS)
def test_it_is_the_dictionary_it_was_made_of_sorted(versions):
    tracks = TrackVersions.of(versions)
    assert list(tracks.items()) == sorted(versions.items())
    assert [tracks.row_of(name) for name in sorted(versions)] == list(range(len(versions)))
    assert [tracks.id_of(row) for row in range(len(tracks))] == sorted(versions)
    assert tracks.row_of("\0not there") == -1
    assert "\0not there" not in tracks


@given(VERSIONS, VERSIONS, st.data())
def test_rows_in_others_are_those_of_the_same_id_and_version(versions, more, data):
    kept = {name: v for name, v in versions.items() if data.draw(st.booleans())}
    others = TrackVersions.of(more | kept)
    rows = TrackVersions.of(versions).rows_in(others)
    for name, row in zip(sorted(versions), rows.tolist(), strict=True):
        same = dict(others).get(name) == versions[name]
        assert (row >= 0) == same
        assert not same or others.id_of(row) == name


@pytest.mark.parametrize("names", [["b", "a"], ["a", "a"], ["a", "b", "c"]])
def test_ids_out_of_order_or_more_than_numbers_are_refused(names):
    with pytest.raises(ValueError, match="as many, and ids in order are needed"):
        TrackVersions(encode_ids(names), np.zeros(2, np.uint32))


def test_a_cache_keeps_the_last_items_within_its_bytes():
    read: list[str] = []

    def item(name: str) -> bytes:
        read.append(name)
        return bytes(len(name))

    cache = ByteCache(item, len, max_bytes=5)
    for name in ("aa", "bb", "aa", "cc", "aa", "bb"):
        assert len(cache(name)) == 2
        assert cache.n_bytes <= 5
    assert read == ["aa", "bb", "cc", "bb"]
    assert len(cache("far too long")) == 12
    assert cache.n_bytes == 12
