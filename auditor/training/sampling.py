"""What a training batch holds: which classes, which moments of which tracks.

A batch is N classes with M windows each.  The class is a track, a genre, or an excerpt (one short
stretch of music, seen through M different alterations).  Classes never repeat within a batch,
windows of a class never repeat, and tracks known to share material (one *group*) never meet in a
batch as different classes.  A batch depends on the seed and the step alone, so a resumed run sees
the batches that the killed one would have seen.

References
----------
Wan, Wang, Papir, Moreno (2018), arXiv:1710.10467, section 2.1, for N classes x M utterances.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from auditor.embedding.pooling import SILENCE_DB

CLASS_KINDS = ("track", "genre", "excerpt")


@dataclass(frozen=True)
class SamplingPool:
    """The tracks a sampler draws from.

    Attributes
    ----------
    moments : tuple of numpy.ndarray
        For each track the centre frames of its audible, non-overlapping window slots, int.
    labels : tuple of str
        For each track the class it belongs to when the class is a genre; empty for none.
    groups : tuple of int
        For each track the number of its group; tracks that share material share it.
    albums : tuple of str
        For each track the folder it lies in: where hard negatives come from.
    """

    moments: tuple[np.ndarray, ...]
    labels: tuple[str, ...]
    groups: tuple[int, ...]
    albums: tuple[str, ...]


@dataclass(frozen=True)
class TrainingTracks:
    """The frames and labels of the tracks to train or to validate on.

    Attributes
    ----------
    frames : tuple of numpy.ndarray
        (n_frames, n_bands) float16 dB each, memory-mapped.
    pool : SamplingPool
        Where to draw windows from.
    """

    frames: tuple[np.ndarray, ...]
    pool: SamplingPool


def gather_tracks(
    frames: Sequence[np.ndarray],
    *,
    labels: Sequence[str],
    groups: Sequence[int],
    albums: Sequence[str],
    window_frames: int,
) -> TrainingTracks:
    """Find the audible window slots of each track.

    Parameters
    ----------
    frames : sequence of numpy.ndarray
        (n_frames, n_bands) dB each.
    labels, groups, albums : sequences
        One for each track, see ``SamplingPool``.
    window_frames : int
        Length of a slot.

    Returns
    -------
    TrainingTracks
    """
    moments = []
    for track in frames:
        n_slots = len(track) // window_frames
        level = np.asarray(track[: n_slots * window_frames]).max(axis=1, initial=-np.inf)
        level = level.reshape(n_slots, window_frames).astype(np.float32)
        loud = np.sort(level, axis=1)[:, window_frames // 2] >= SILENCE_DB + 15.0
        moments.append(np.flatnonzero(loud) * window_frames + window_frames // 2)
    pool = SamplingPool(tuple(moments), tuple(labels), tuple(groups), tuple(albums))
    return TrainingTracks(tuple(frames), pool)


@dataclass(frozen=True)
class Batch:
    """Tracks and moments of one batch.

    Attributes
    ----------
    tracks : numpy.ndarray
        (n_classes, n_utterances) int, row of the track.
    centres : numpy.ndarray
        (n_classes, n_utterances) float, frame of the track that the window is centred on.
    """

    tracks: np.ndarray
    centres: np.ndarray


def distinct_groups(order: np.ndarray, groups: np.ndarray, n: int) -> np.ndarray:
    """Return the first ``n`` rows of ``order`` no two of which are of one group."""
    _, first = np.unique(groups[order], return_index=True)
    return order[np.sort(first)[:n]]


def sample_batch(
    pool: SamplingPool,
    *,
    classes: str,
    n_classes: int,
    n_utterances: int,
    seed: int,
    step: int,
    jitter_frames: float = 0.0,
) -> Batch:
    """Draw one batch.

    Parameters
    ----------
    pool : SamplingPool
    classes : "track", "genre" or "excerpt"
    n_classes, n_utterances : int
        N and M.
    seed, step : int
        The batch depends on these alone.
    jitter_frames : float
        Window centres move by up to this much either way.

    Raises
    ------
    ValueError
        If the pool cannot fill a batch of that size.
    """
    rng = np.random.default_rng([seed, step])
    if classes == "track":
        tracks, centres = _track_batch(pool, n_classes, n_utterances, rng)
    elif classes == "genre":
        tracks, centres = _genre_batch(pool, n_classes, n_utterances, rng)
    elif classes == "excerpt":
        tracks, centres = _excerpt_batch(pool, n_classes, n_utterances, rng)
    else:
        raise ValueError(f"classes is {classes!r}; it must be one of {', '.join(CLASS_KINDS)}")
    jitter = rng.uniform(-jitter_frames, jitter_frames, size=centres.shape)
    return Batch(tracks=tracks, centres=centres + jitter)


def _track_batch(
    pool: SamplingPool, n_classes: int, n_utterances: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    able = np.flatnonzero([len(m) >= n_utterances for m in pool.moments])
    order = _album_order(able, pool, rng)
    chosen = distinct_groups(order, np.asarray(pool.groups), n_classes)
    _require(len(chosen), n_classes, f"tracks with {n_utterances} audible windows")
    centres = np.stack(
        [rng.choice(pool.moments[t], size=n_utterances, replace=False) for t in chosen]
    )
    return np.repeat(chosen[:, None], n_utterances, axis=1), centres


def _album_order(rows: np.ndarray, pool: SamplingPool, rng: np.random.Generator) -> np.ndarray:
    """Shuffle tracks; half of the time tracks of one album stay together: hard negatives."""
    order = rng.permutation(rows)
    if rng.random() < 0.5:
        albums = np.asarray(pool.albums)[order]
        _, album = np.unique(albums, return_inverse=True)
        rank = rng.permutation(album.max(initial=-1) + 1)
        order = order[np.argsort(rank[album], kind="stable")]
    return order


def _genre_batch(
    pool: SamplingPool, n_classes: int, n_utterances: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    groups = np.asarray(pool.groups)
    rows_of = able_genres(pool, n_utterances)
    _require(len(rows_of), n_classes, f"genres with two tracks and {n_utterances} audible windows")
    chosen = rng.choice(sorted(rows_of), size=n_classes, replace=False)
    tracks = np.zeros((n_classes, n_utterances), dtype=np.int64)
    centres = np.zeros((n_classes, n_utterances))
    for i, label in enumerate(chosen):
        rows = distinct_groups(rng.permutation(rows_of[label]), groups, n_utterances)
        # A genre with fewer tracks than utterances gives several windows of some, never twice one.
        for j in range(n_utterances):
            for track in np.roll(rows, -j):
                taken = centres[i, :j][tracks[i, :j] == track]
                free = np.setdiff1d(pool.moments[track], taken)
                if len(free):
                    break
            centres[i, j] = rng.choice(free)
            tracks[i, j] = track
    return tracks, centres


def able_genres(pool: SamplingPool, n_utterances: int) -> dict[str, np.ndarray]:
    """Return the rows of each genre that has two groups and enough windows for a class.

    A group whose tracks carry different genres belongs to none: its music would meet itself in
    another class.
    """
    labels = np.asarray(pool.labels)
    n_moments = np.asarray([len(m) for m in pool.moments], dtype=np.int64)
    labels_of: dict[int, set[str]] = {}
    for label, group in zip(pool.labels, pool.groups, strict=True):
        labels_of.setdefault(group, set()).update({label} - {""})
    pure = np.asarray([len(labels_of[group]) <= 1 for group in pool.groups], dtype=bool)
    rows_of = {}
    for label in np.unique(labels[labels != ""]):
        rows = np.flatnonzero((labels == label) & pure & (n_moments > 0))
        fewest = fewest_moments(pool, rows)
        if len(fewest) >= 2 and sum(fewest.values()) >= n_utterances:
            rows_of[str(label)] = rows
    return rows_of


def fewest_moments(pool: SamplingPool, rows: Iterable[int]) -> dict[int, int]:
    """Return for each group the fewest windows that one of its tracks among ``rows`` has."""
    fewest: dict[int, int] = {}
    for row in rows:
        n = len(pool.moments[row])
        fewest[pool.groups[row]] = min(fewest.get(pool.groups[row], n), n)
    return fewest


def _excerpt_batch(
    pool: SamplingPool, n_classes: int, n_utterances: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Excerpts: four to a track where it is long enough, tracks half of the time of one album."""
    groups = np.asarray(pool.groups)
    able = np.flatnonzero([len(m) >= 1 for m in pool.moments])
    order = distinct_groups(_album_order(able, pool, rng), groups, len(able))
    tracks: list[int] = []
    centres: list[int] = []
    while len(tracks) < n_classes:
        before = len(tracks)
        for track in order:
            taken = {c for t, c in zip(tracks, centres, strict=True) if t == track}
            free = [m for m in pool.moments[track] if m not in taken]
            n = min(4, len(free), n_classes - len(tracks))
            if n > 0:
                centres += [int(c) for c in rng.choice(free, size=n, replace=False)]
                tracks += [int(track)] * n
            if len(tracks) == n_classes:
                break
        _require(n_classes if len(tracks) > before else len(tracks), n_classes, "excerpts")
    return (
        np.repeat(np.asarray(tracks)[:, None], n_utterances, axis=1),
        np.repeat(np.asarray(centres, dtype=np.float64)[:, None], n_utterances, axis=1),
    )


def _require(n_found: int, n_needed: int, what: str) -> None:
    if n_found < n_needed:
        raise ValueError(f"{n_found} {what} for a batch of {n_needed}; give more music")
