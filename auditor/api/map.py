"""The map of a catalogue: a place in the plane for every track, near tracks close together.

The places are those of t-SNE (van der Maaten and Hinton, 2008, Visualizing Data using t-SNE, JMLR
9, 2579-2605), with the Barnes-Hut approximation (van der Maaten, 2014, Accelerating t-SNE using
Tree-Based Algorithms, JMLR 15, 3221-3245), started from the two principal components, which keeps
more of the large shape and makes runs comparable (Kobak and Berens, 2019, The art of using t-SNE
for single-cell transcriptomics, doi:10.1038/s41467-019-13056-x).  The places are for looking
around; nothing is decided by them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from auditor.api.sounds import OnTrack, read_catalogue_sounds
from auditor.decisions.apply import in_order, standing
from auditor.decisions.review import last_scan
from auditor.records import DecisionKind, Pair, Provenance, ScanResult, Track
from auditor.search.exact import clusters, nearest
from auditor.search.vectors import check_unit_rows
from auditor.workspace import Workspace, make_provenance, require_tracks

N_NEIGHBOURS = 5
"""Nearest tracks kept of each track."""

PERPLEXITY = 30.0
"""About how many neighbours of a track t-SNE minds; fewer in a small catalogue."""

_LEAST_TRACKS = 10
_JITTER = 0.01


@dataclass(frozen=True)
class Place:
    """Where the tracks of a catalogue lie, row by row.

    Attributes
    ----------
    positions : numpy.ndarray
        (n, 2) float32, in [-1, 1]; the largest value is 1.
    neighbours : numpy.ndarray
        (n, k) int64, the rows of the nearest tracks, best first; k is ``N_NEIGHBOURS`` or n - 1.
    scores : numpy.ndarray
        (n, k) float32, their exact scores.
    """

    positions: np.ndarray
    neighbours: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True)
class Atlas:
    """A catalogue as a map.

    Attributes
    ----------
    tracks : tuple of Track
        Those that are present and not silent, sorted by id; their places are the rows of ``place``.
    paths : tuple of bytes
        Their files, for links.
    place : Place
    pairs : tuple of (int, int, Pair)
        Rows of the pairs that the last scan flagged and nobody has set aside since.
    cluster_of : tuple of int
        Number of each track's cluster, from 0, the largest first; -1 where no pair joins it.
    seed : int
    method : str
        How the places were found, in words.
    provenance : Provenance
    notes : tuple of str
        What a reader must know.
    """

    tracks: tuple[Track, ...]
    paths: tuple[bytes, ...]
    place: Place
    pairs: tuple[tuple[int, int, Pair], ...]
    cluster_of: tuple[int, ...]
    seed: int
    method: str
    provenance: Provenance
    notes: tuple[str, ...] = ()


def make_atlas(
    workspace: Workspace,
    *,
    seed: int = 0,
    command: str = "",
    on_start: Callable[[int, float], None] | None = None,
    on_track: OnTrack | None = None,
) -> Atlas:
    """Return the map of a workspace's catalogue, the same for the same catalogue and seed.

    Parameters
    ----------
    workspace : Workspace
        May be opened read-only.
    seed : int
        From 0 to 2**32 - 1.
    command : str
        Kept in the provenance.
    on_start : callable, optional
        Called with the number of tracks and the seconds it may take, before the long part.
    on_track : callable, optional
        See ``recommend``.

    Raises
    ------
    CatalogueError
        If no track is embedded by this extractor, or an embedding is damaged.
    """
    started = time.monotonic()
    sounds = read_catalogue_sounds(workspace, on_track=on_track)
    ids = sounds.ids
    require_tracks(workspace, len(ids))
    by_id = {track.id: track for track in workspace.catalogue.tracks()}
    tracks = tuple(by_id[track_id] for track_id in ids)
    if on_start:
        on_start(len(ids), estimate_s(len(ids)))
    positions = place_tracks(sounds.vectors, seed=seed)
    neighbours, scores = nearest_tracks(sounds.vectors)
    pairs, notes = _flagged_pairs(workspace, tracks, last_scan(workspace.directory))
    path_of = workspace.catalogue.paths()
    n_silent = sum(track.silent and not track.missing for track in by_id.values())
    if n_silent:
        notes = (*notes, f"Silent tracks left out of the map: {n_silent:,}.")
    return Atlas(
        tracks=tracks,
        paths=tuple(path_of[track_id] for track_id in ids),
        place=Place(positions, neighbours, scores),
        pairs=pairs,
        cluster_of=_cluster_numbers(len(ids), pairs),
        seed=seed,
        method=f"{describe(len(ids), seed)}, of {sounds.name}",
        provenance=make_provenance(workspace, command=command, started=started),
        notes=(*notes, *sounds.notes),
    )


def place_tracks(embeddings: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Return a place in the plane for each embedding.

    t-SNE of cosine distances in one thread, because several add up in no fixed order: the same
    input and seed give the same places on one machine.  Fewer than 10 tracks are placed by
    their principal components.

    Parameters
    ----------
    embeddings : numpy.ndarray
        (n, n_dims) float32, unit norm.
    seed : int
        From 0 to 2**32 - 1; shifts where the tracks start by a little.

    Returns
    -------
    numpy.ndarray
        (n, 2) float32, centred, in [-1, 1], the largest value 1 (0 for one track).

    Raises
    ------
    ValueError
        If the embeddings are not unit rows, or the seed is out of range.
    """
    check_unit_rows("embeddings", embeddings)
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed is {seed}; it must be at least 0 and below 2**32")
    n = len(embeddings)
    if n < 2:
        return np.zeros((n, 2), np.float32)
    start = principal_components(embeddings)
    jitter = np.random.default_rng(seed).normal(0.0, _JITTER, start.shape)
    start = start / max(float(start[:, 0].std()), 1e-9) + jitter
    if n >= _LEAST_TRACKS:
        from sklearn.manifold import TSNE
        from threadpoolctl import threadpool_limits

        with threadpool_limits(limits=1):
            start = TSNE(
                perplexity=perplexity(n),
                metric="cosine",
                init=(1e-4 * start).astype(np.float32),
                random_state=seed,
                n_jobs=1,
            ).fit_transform(embeddings)
    low, high = start.min(axis=0), start.max(axis=0)
    centred = start - (low + high) / 2.0
    return (centred / max(float(np.abs(centred).max()), 1e-12)).astype(np.float32)


def perplexity(n: int) -> float:
    """Return the perplexity for n tracks: a third of the others at most.

    Examples
    --------
    >>> perplexity(10), perplexity(1000)
    (3.0, 30.0)
    """
    return min(PERPLEXITY, (n - 1) / 3.0)


def principal_components(embeddings: np.ndarray) -> np.ndarray:
    """Return the (n, 2) float64 coordinates along the two directions of largest variance.

    The sign of a direction is the one whose largest part is positive, so that no map is mirrored
    by chance.
    """
    centred = embeddings.astype(np.float64)
    centred -= centred.mean(axis=0)
    _, directions = np.linalg.eigh(centred.T @ centred)  # ascending
    found = np.zeros((len(embeddings), 2))
    for column, direction in enumerate(directions.T[::-1][:2]):
        sign = np.sign(direction[np.argmax(np.abs(direction))])
        found[:, column] = centred @ (sign * direction)
    return found


def nearest_tracks(
    embeddings: np.ndarray, *, top: int = N_NEIGHBOURS
) -> tuple[np.ndarray, np.ndarray]:
    """Return the tracks of highest exact score with each track, never the track itself.

    Parameters
    ----------
    embeddings : numpy.ndarray
        (n, n_dims) float32, unit norm.
    top : int
        At least 1.

    Returns
    -------
    rows : numpy.ndarray
        (n, min(top, n - 1)) int64.
    scores : numpy.ndarray
        The same shape, float32, descending.

    Raises
    ------
    ValueError
        If the embeddings are not unit rows, or ``top`` is below 1.
    """
    rows, scores = nearest(embeddings, embeddings, top + 1)
    n, found = rows.shape
    others = rows != np.arange(n)[:, None]
    others[others.all(axis=1), -1:] = False  # more than ``top`` others are the very same
    shape = n, max(found - 1, 0)
    return rows[others].reshape(shape), scores[others].reshape(shape)


def estimate_s(n: int) -> float:
    """Return about how long the map of n tracks takes, in seconds on one core.

    Measured on one core of a server with random walks of 256 dimensions: see docs/cli.md.

    Examples
    --------
    >>> round(estimate_s(5000), -1)
    20.0
    """
    return 2.5 * (n / 1000.0) ** 1.25 + 1e-7 * n**2


def describe(n: int, seed: int) -> str:
    """Return how the places of n tracks are found, in words."""
    if n < _LEAST_TRACKS:
        return f"principal components (too few tracks for t-SNE), seed {seed}"
    return (
        f"t-SNE of cosine distances, started from principal components, perplexity "
        f"{perplexity(n):.3g}, seed {seed}"
    )


def _flagged_pairs(
    workspace: Workspace, tracks: tuple[Track, ...], scan: ScanResult | None
) -> tuple[tuple[tuple[int, int, Pair], ...], tuple[str, ...]]:
    """Return the pairs that still stand, with their rows, and what was left out."""
    if scan is None:
        note = "The workspace holds no scan by this version, so no pairs are drawn. Run: audit scan"
        return (), (note,)
    row_of = {(track.id, track.sha256): row for row, track in enumerate(tracks)}
    sha256 = {track.id: track.sha256 for track in scan.tracks}
    decided = standing(workspace.catalogue.decisions())
    found, n_gone, n_decided = [], 0, 0
    for pair in scan.pairs:
        if not pair.flagged:
            continue
        ends = [(track_id, sha256.get(track_id, "")) for track_id in (pair.a, pair.b)]
        if not all(end in row_of for end in ends):
            n_gone += 1
            continue
        decision = decided.get(in_order(ends[0][1], ends[1][1]))
        if decision is not None and decision.kind != DecisionKind.CONFIRMED:
            n_decided += 1
            continue
        found.append((row_of[ends[0]], row_of[ends[1]], pair))
    notes = []
    if n_gone:
        notes.append(
            "Flagged pairs of the last scan not drawn because a file was removed or has changed: "
            f"{n_gone:,}. Run: audit scan"
        )
    if n_decided:
        notes.append(f"Flagged pairs of the last scan set aside by decisions: {n_decided:,}.")
    if scan.provenance.weights_id != workspace.weights_id:
        notes.append(
            f"The positions come from {workspace.extractor.name} ({workspace.weights_id}), the "
            f"flagged pairs from {scan.provenance.extractor} ({scan.provenance.weights_id})."
        )
    return tuple(found), tuple(notes)


def _cluster_numbers(n: int, pairs: tuple[tuple[int, int, Pair], ...]) -> tuple[int, ...]:
    rows = np.array([(a, b) for a, b, _ in pairs], np.int64).reshape(-1, 2)
    numbers = [-1] * n
    for number, members in enumerate(clusters(n, rows[:, 0], rows[:, 1])):
        for row in members:
            numbers[row] = number
    return tuple(numbers)
