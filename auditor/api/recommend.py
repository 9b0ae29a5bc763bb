"""Recommendation queries: nearest, a profile of favourites, farthest.

Tracks are compared by what they sound like (``api.sounds``); copies are known by the embeddings.
A profile is the normalised mean of the liked vectors.  Disliked tracks are answered by a
farthest-neighbour search on their mean, that is, the tracks nearest to its negation.  With both,
the query is the normalised difference of the two means.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from auditor.api.compositions import versions_of
from auditor.api.sounds import OnTrack, read_catalogue_sounds
from auditor.audio.files import hash_file, is_there, look_at
from auditor.audio.object_store import fetched, is_object
from auditor.calibration.thresholds import find_thresholds
from auditor.embedding.embed import embed_file
from auditor.errors import CatalogueError, UsageError, show_path
from auditor.ingest.submissions import own_id, unchanged_id
from auditor.records import Recommended, RecommendResult, Track
from auditor.scoring.cosine import Scorer as CosineScorer
from auditor.search.exact import find_cross_pairs, nearest
from auditor.search.vectors import exact_scores
from auditor.workspace import Workspace, make_provenance, require_tracks


@dataclass(frozen=True)
class Query:
    """What is asked.

    Attributes
    ----------
    of : str
        Id of a track or path of a file; counts as liked.
    like, dislike : tuple of str
        Ids of tracks, or paths of files.
    farthest : bool
        Turn the answer round: the tracks least like the query.
    top : int
        Number of answers.
    copies : bool
        Also answer with tracks that are flagged copies of the query's.
    versions : bool
        Answer with tracks that may be the same composition as ``of`` instead (``versions_of``).
    """

    of: str = ""
    like: tuple[str, ...] = ()
    dislike: tuple[str, ...] = ()
    farthest: bool = False
    top: int = 10
    copies: bool = False
    versions: bool = False


def recommend(
    workspace: Workspace, query: Query, *, command: str = "", on_track: OnTrack | None = None
) -> RecommendResult:
    """Return the tracks nearest to a track, to a profile, or farthest from the disliked.

    Parameters
    ----------
    workspace : Workspace
        May be opened read-only.
    query : Query
    command : str
        Kept in the provenance.
    on_track : callable, optional
        Called with the tracks that were summarised and all that have to be, the first time.

    Returns
    -------
    RecommendResult
        Scores are cosines with the query vector; the query's own tracks are never among them, nor
        their flagged copies unless asked for.  Tracks of the same bytes are one answer.

    Raises
    ------
    UsageError
        If nothing is asked, or favourites and dislikes cancel out.
    CatalogueError
        If an id is unknown or has no embedding by this extractor.
    AudioError
        If a file of the query cannot be decoded.
    ThresholdError
        If a threshold file is damaged.
    """
    started = time.monotonic()
    if not query.of and not query.like and not query.dislike:
        raise UsageError("no track was given. Give an ID or a file, --like ID, or --dislike ID.")
    if query.top < 1:
        raise UsageError(f"--top is {query.top}; it must be at least 1.")
    if query.versions:
        return _versions(workspace, query, command=command, started=started)
    sounds = read_catalogue_sounds(workspace, on_track=on_track)
    ids, embeddings = sounds.ids, sounds.embeddings
    require_tracks(workspace, len(ids))
    row_of = {track_id: row for row, track_id in enumerate(ids)}

    def stored_sides(track_id: str) -> tuple[np.ndarray, np.ndarray]:
        if track_id not in row_of:
            track = workspace.catalogue.track(track_id)
            why = (
                "is silent"
                if track.silent
                else "is missing"
                if track.missing
                else "is not embedded"
            )
            raise CatalogueError(f"{track_id} {why}, so it cannot be compared. Give another id.")
        return embeddings[row_of[track_id]], sounds.vectors[row_of[track_id]]

    own: set[str] = set()
    queries: list[np.ndarray] = []

    def named(words: Iterable[str]) -> dict[str, np.ndarray]:
        """Return the vectors of tracks by id or path, by how they are shown; they become own."""
        found: dict[str, np.ndarray] = {}
        for word in words:
            shown, itself, stored = word, word, True
            if word not in row_of and is_there(word):
                path = _absolute(word)
                shown, itself = show_path(word), unchanged_id(workspace, path)
                stored = itself in row_of
            if stored:
                embedding, found[shown] = stored_sides(itself)
            else:
                with fetched(path) as there:
                    embedding, spectrum = _embed(workspace, there)
                    found[shown] = sounds.vector(embedding, spectrum)
                    itself = own_id(workspace, path, hash_file(there))
            queries.append(embedding)
            own.add(itself)
        return found

    liked = named([*query.like, *([query.of] if query.of else [])])
    disliked = named(query.dislike)
    target, notes = _target(list(liked.values()), list(disliked.values()))
    if query.farthest:
        target = -target
        notes = (*notes, "Farthest first; the scores are similarities to the query.")
    left_out = np.zeros(len(ids), dtype=bool)
    left_out[[row_of[track_id] for track_id in own if track_id in row_of]] = True
    if not query.copies:
        copies = _copies(workspace, embeddings, np.stack(queries))
        if copies is None:
            notes = (*notes, "No threshold is calibrated, so copies of the query are not left out.")
        else:
            left_out[copies] = True
    kept = np.flatnonzero(~left_out)
    if len(kept) == 0:
        raise UsageError("every track of the catalogue is part of the query or a copy of it.")
    sign = -1.0 if query.farthest else 1.0
    vectors = sounds.vectors
    found = _different(workspace, target, [ids[i] for i in kept], vectors[kept], query.top)
    answers = tuple(
        Recommended(
            track=first,
            score=sign * score,
            nearest_to=_nearest_to(liked, vectors[row_of[first.id]]),
            same=tuple(track.path for track in others),
        )
        for score, (first, *others) in found
    )
    return RecommendResult(
        query={
            "of": (show_path(query.of),) if query.of else (),
            "like": tuple(map(show_path, query.like)),
            "dislike": tuple(map(show_path, query.dislike)),
            "farthest": ("yes",) if query.farthest else (),
        },
        recommendations=answers,
        n_tracks=len(ids),
        provenance=make_provenance(workspace, command=command, started=started),
        notes=(*notes, *sounds.notes),
        compared_by=sounds.name,
    )


def _versions(
    workspace: Workspace, query: Query, *, command: str, started: float
) -> RecommendResult:
    """Return the tracks that may be the same composition as the track of a query."""
    if not query.of or query.like or query.dislike or query.farthest:
        raise UsageError(
            "--versions starts from one track of the catalogue. Give its ID, without --like, "
            "--dislike and --farthest."
        )
    ids, embeddings = workspace.catalogue.embeddings(workspace.weights_id)
    require_tracks(workspace, len(ids))
    row_of = {track_id: row for row, track_id in enumerate(ids)}
    itself = query.of
    if itself not in row_of and is_there(itself):
        itself = unchanged_id(workspace, _absolute(itself))
        if itself not in row_of:
            raise UsageError(
                f"{show_path(query.of)} is not in the catalogue. Run: audit check FILE, which also "
                "lists compositions."
            )
    left_out: set[str] = set()
    if itself in row_of and not query.copies:
        copies = _copies(workspace, embeddings, embeddings[row_of[itself]][None])
        left_out = {ids[row] for row in (() if copies is None else copies)}
    found = versions_of(workspace, itself, top=query.top, leave_out=left_out)
    same = workspace.catalogue.table(workspace.weights_id).same_files()
    tracks = [workspace.catalogue.track(match.b) for match in found.matches]
    return RecommendResult(
        query={"versions": (itself,)},
        recommendations=tuple(
            Recommended(
                track=track,
                score=match.score,
                same=tuple(
                    workspace.catalogue.track(other).path
                    for other in same.get(track.id, ())
                    if other != track.id
                ),
            )
            for match, track in zip(found.matches, tracks, strict=True)
        ),
        n_tracks=len(ids),
        provenance=make_provenance(workspace, command=command, started=started),
        notes=tuple(filter(None, (found.note,))),
        compositions=found,
    )


def _different(
    workspace: Workspace, target: np.ndarray, ids: list[str], vectors: np.ndarray, top: int
) -> list[tuple[float, list[Track]]]:
    """Return the scores and tracks of the ``top`` nearest contents; same bytes are one content."""
    wanted = top + 1
    while True:
        rows, scores = nearest(target[None], vectors, wanted)
        found: dict[str, tuple[float, list[Track]]] = {}
        for row, score in zip(rows[0], scores[0], strict=True):
            track = workspace.catalogue.track(ids[row])
            found.setdefault(track.sha256, (float(score), []))[1].append(track)
        if len(found) > top or wanted >= len(ids):
            return list(found.values())[:top]
        wanted *= 2


def _absolute(path: str) -> bytes:
    """Return the path of a file, or the URL of an object as its store spells it."""
    return (
        look_at(os.fsencode(path)).path if is_object(path) else os.fsencode(os.path.abspath(path))
    )


def _embed(
    workspace: Workspace, path: str | bytes | os.PathLike[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the embedding and the spectrum of a file."""
    embedded = embed_file(path, [workspace.extractor])
    if embedded.silent:
        raise UsageError(f"{show_path(path)}: is silent. Give a file with sound.")
    return embedded.embeddings[workspace.weights_id].embedding, embedded.spectrum


def _target(
    liked: list[np.ndarray], disliked: list[np.ndarray]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the (n_dims,) unit vector to search for, and what was made of the query."""
    parts = []
    if liked:
        parts.append(_unit(np.mean(liked, axis=0)))
    if disliked:
        parts.append(-_unit(np.mean(disliked, axis=0)))
    notes = []
    if len(liked) > 1:
        notes.append(f"The profile is the normalised mean of {len(liked)} tracks.")
    if disliked:
        notes.append("The mean of the disliked tracks is subtracted.")
    return _unit(np.sum(parts, axis=0)), tuple(notes)


def _unit(vector: np.ndarray) -> np.ndarray:
    norm = float(np.linalg.norm(vector))
    if norm < 1e-6:
        raise UsageError("the tracks of the query cancel each other out. Leave some of them out.")
    return (vector / norm).astype(np.float32)


def _copies(workspace: Workspace, embeddings: np.ndarray, queries: np.ndarray) -> np.ndarray | None:
    """Return the rows flagged with any track of the query, None if no threshold is calibrated."""
    found = find_thresholds(
        workspace.weights_id, workspace.threshold_directories, scorer=CosineScorer.id
    )
    if found is None:
        return None
    return find_cross_pairs(queries, embeddings, found[0].threshold, histogram=False).rows_b


def _nearest_to(liked: dict[str, np.ndarray], vector: np.ndarray) -> str:
    if not liked:
        return ""
    names = list(liked)
    favourites = np.stack([liked[name] for name in names])
    scores = exact_scores(
        favourites, np.arange(len(names)), np.zeros(len(names), np.int64), others=vector[None]
    )
    return names[int(np.argmax(scores))]
