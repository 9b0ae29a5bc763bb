"""Batches: nothing repeats, nothing meets itself, and the seed and step decide it all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.training.sampling import (
    SamplingPool,
    able_genres,
    distinct_groups,
    fewest_moments,
    sample_batch,
)


def pool_of(rows: list[tuple[int, str, int, str]]) -> SamplingPool:
    """Make a pool of (number of moments, genre, group, album)."""
    return SamplingPool(
        moments=tuple(np.arange(n) * 160 + 80 for n, *_ in rows),
        labels=tuple(label for _, label, *_ in rows),
        groups=tuple(group for _, _, group, _ in rows),
        albums=tuple(album for *_, album in rows),
    )


POOLS = st.lists(
    st.tuples(
        st.integers(0, 6),
        st.sampled_from(["", "jazz", "rock", "folk"]),
        st.integers(0, 8),
        st.sampled_from(["a", "b", "c"]),
    ),
    max_size=14,
).map(pool_of)

LARGE = pool_of([(9, "abcde"[i // 2 % 5], i - i % 2, "xyz"[i % 3]) for i in range(60)])


def draw(pool: SamplingPool, classes: str, n: int = 4, m: int = 3, **how):
    how = {"seed": 0, "step": 0} | how
    return sample_batch(pool, classes=classes, n_classes=n, n_utterances=m, **how)


@settings(max_examples=150, deadline=None)
@given(
    POOLS,
    st.sampled_from(["track", "genre", "excerpt"]),
    st.integers(2, 4),
    st.integers(2, 5),
    st.integers(0, 2**31 - 1),
    st.integers(0, 1000),
)
def test_a_batch_keeps_its_promises_or_is_refused(pool, classes, n, m, seed, step):
    try:
        batch = draw(pool, classes, n, m, seed=seed, step=step)
    except ValueError as error:
        assert "give more music" in str(error)  # noqa: PT017
        return
    assert batch.tracks.shape == batch.centres.shape == (n, m)
    groups = np.asarray(pool.groups)
    for track, centre in zip(batch.tracks.ravel(), batch.centres.ravel(), strict=True):
        assert centre in pool.moments[track]
    windows = [
        list(zip(*row, strict=True)) for row in zip(batch.tracks, batch.centres, strict=True)
    ]
    if classes == "excerpt":
        assert all(len(set(row)) == 1 for row in windows)
        assert len({row[0] for row in windows}) == n
        # Excerpts of one track may meet; two tracks of one group may not.
        tracks = {int(row[0][0]) for row in windows}
        assert len({int(groups[t]) for t in tracks}) == len(tracks)
        return
    assert all(len(set(row)) == m for row in windows)
    groups_of = [set(groups[row]) for row in batch.tracks]
    for i in range(n):
        assert all(groups_of[i].isdisjoint(groups_of[j]) for j in range(i))
    if classes == "track":
        assert all(len(set(row)) == 1 for row in batch.tracks)
    else:
        labels = [{pool.labels[t] for t in row} for row in batch.tracks]
        assert all(len(found) == 1 and "" not in found for found in labels)
        assert len(set.union(*labels)) == n
        assert all(len(g) >= 2 for g in groups_of)


@pytest.mark.parametrize("classes", ["track", "genre", "excerpt"])
def test_seed_and_step_decide_the_batch(classes):
    np.random.seed(1)
    one = draw(LARGE, classes, seed=3, step=5, jitter_frames=50.0)
    np.random.seed(2)
    two = draw(LARGE, classes, seed=3, step=5, jitter_frames=50.0)
    assert np.array_equal(one.tracks, two.tracks)
    assert np.array_equal(one.centres, two.centres)
    for other in ({"seed": 3, "step": 6}, {"seed": 4, "step": 5}):
        three = draw(LARGE, classes, jitter_frames=50.0, **other)
        assert not np.array_equal(one.centres, three.centres)


@pytest.mark.parametrize("classes", ["track", "genre", "excerpt"])
def test_jitter_moves_windows_within_its_bounds(classes):
    still = draw(LARGE, classes, 4, 4)
    moved = draw(LARGE, classes, 4, 4, jitter_frames=30.0)
    assert np.array_equal(still.tracks, moved.tracks)
    shift = moved.centres - still.centres
    assert np.abs(shift).max() <= 30.0
    assert len(np.unique(shift)) == shift.size


def test_every_track_takes_part_sooner_or_later():
    seen = {int(t) for step in range(60) for t in draw(LARGE, "track", step=step).tracks.ravel()}
    assert seen == set(range(60))


def test_tracks_of_one_album_often_meet():
    albums = pool_of([(4, "", i, str(i // 4)) for i in range(400)])
    shares = []
    for step in range(40):
        tracks = draw(albums, "track", 8, 2, step=step).tracks[:, 0]
        shares.append(len(np.unique(tracks // 4)) / 8)
    assert sum(s <= 0.5 for s in shares) >= 10
    assert sum(s >= 0.9 for s in shares) >= 10


def test_long_tracks_give_several_excerpts():
    tracks, counts = np.unique(draw(LARGE, "excerpt", 16, 2).tracks[:, 0], return_counts=True)
    assert counts.tolist() == [4, 4, 4, 4]
    one_track = draw(pool_of([(9, "", 0, "")]), "excerpt", 9, 2)
    assert sorted(one_track.centres[:, 0]) == (np.arange(9) * 160 + 80).tolist()
    assert len(tracks) == 4


def test_distinct_groups_keeps_the_first_of_each():
    order = np.asarray([3, 0, 2, 1])
    groups = np.asarray([7, 8, 7, 8])
    assert distinct_groups(order, groups, 5).tolist() == [3, 0]
    assert distinct_groups(order, groups, 1).tolist() == [3]


def test_genres_that_can_be_a_class():
    pool = pool_of(
        [
            (2, "jazz", 0, ""),
            (1, "jazz", 1, ""),
            (9, "solo", 2, ""),  # one track
            (9, "twin", 3, ""),  # two tracks of one group
            (9, "twin", 3, ""),
            (9, "rock", 4, ""),  # shares a group with folk
            (9, "folk", 4, ""),
            (9, "rock", 5, ""),
            (9, "folk", 6, ""),
            (5, "", 7, ""),
            (5, "beat", 7, ""),  # its copy has no genre
            (5, "beat", 8, ""),
        ]
    )
    assert {k: v.tolist() for k, v in able_genres(pool, 3).items()} == {
        "beat": [10, 11],
        "jazz": [0, 1],
    }
    assert set(able_genres(pool, 4)) == {"beat"}


def test_a_genre_of_a_short_and_a_long_track_fills_its_class():
    pool = pool_of([(1, "jazz", 0, ""), (4, "jazz", 1, ""), (1, "folk", 2, ""), (4, "folk", 3, "")])
    for step in range(10):
        batch = draw(pool, "genre", 2, 5, step=step)
        for tracks, centres in zip(batch.tracks, batch.centres, strict=True):
            assert len(set(zip(tracks, centres, strict=True))) == 5


def test_fewest_moments_of_a_group():
    pool = pool_of([(3, "", 0, ""), (2, "", 0, ""), (5, "", 1, "")])
    assert fewest_moments(pool, range(3)) == {0: 2, 1: 5}
    assert fewest_moments(pool, [0]) == {0: 3}


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ("track", "2 tracks with 3 audible windows for a batch of 4; give more music"),
        ("genre", "0 genres with two tracks and 3 audible windows for a batch of 4"),
        ("excerpt", "6 excerpts for a batch of 7; give more music"),
        ("artist", "classes is 'artist'; it must be one of track, genre, excerpt"),
    ],
)
def test_too_little_music(classes, message):
    pool = pool_of([(3, "a", 0, ""), (3, "b", 1, ""), (0, "", 2, "")])
    with pytest.raises(ValueError, match=message):
        draw(pool, classes, 7 if classes == "excerpt" else 4)


@pytest.mark.parametrize("classes", ["track", "genre", "excerpt"])
def test_no_music_at_all(classes):
    with pytest.raises(ValueError, match=r"0 .* for a batch of 4; give more music"):
        draw(pool_of([]), classes)
