"""Gather the music that an extractor is trained or validated on.

Walks folders, decodes each file once into the frame store, and gives every track its class label,
its album (hard negatives come from there) and its group: tracks with the same bytes, or listed as
sharing material, are one group and are never told apart in training.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from auditor.audio.files import find_audio
from auditor.embedding.config import ExtractorConfig
from auditor.errors import UsageError, show_path
from auditor.parallel import OnProgress
from auditor.records import Skipped
from auditor.training.frame_store import StoredFrames, store_frames
from auditor.training.genres import GenreSource, genre_label
from auditor.training.sampling import TrainingTracks, gather_tracks


@dataclass(frozen=True)
class TrainingSet:
    """Tracks ready to train on, and what was left out.

    Attributes
    ----------
    tracks : TrainingTracks
    n_hours : float
        Of decoded music.
    sha256 : str
        Hash over the sorted hashes of all files: names the data in the weights' header.
    skipped : tuple of Skipped
    """

    tracks: TrainingTracks
    n_hours: float
    sha256: str
    skipped: tuple[Skipped, ...]


def read_same_list(path: Path) -> list[tuple[str, str]]:
    """Read pairs of tracks that share material: a TSV whose first two columns are paths.

    The first line is a header; empty lines are passed over.

    Raises
    ------
    UsageError
        If the file cannot be read or a row has fewer than two columns.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file, delimiter="\t"))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{show_path(path)} cannot be read: {error}.") from None
    for i, row in enumerate(rows):
        if len(row) == 1:
            raise UsageError(f"{show_path(path)}, line {i + 1}: two columns of paths are needed.")
    return [(row[0], row[1]) for row in rows[1:] if row]


def group_tracks(
    paths: Sequence[str], hashes: Sequence[str], same: Iterable[tuple[str, str]]
) -> list[int]:
    """Return numbers of the groups of tracks that share material.

    Parameters
    ----------
    paths : sequence of str
        A listed path matches a track whose path ends with it.
    hashes : sequence of str
        Tracks of one hash are one group.
    same : iterable of pairs of str

    Returns
    -------
    list of int
        One number for each track: the row of its group's first track.
    """
    parent = list(range(len(paths)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    def join(i: int, j: int) -> None:
        low, high = sorted((root(i), root(j)))
        parent[high] = low

    first: dict[str, int] = {}
    for i, digest in enumerate(hashes):
        join(first.setdefault(digest, i), i)
    by_name: dict[str, list[int]] = {}
    for i, path in enumerate(paths):
        by_name.setdefault(os.path.basename(path), []).append(i)

    def find(listed: str) -> int | None:
        for i in by_name.get(os.path.basename(listed), []):
            if paths[i] == listed or paths[i].endswith("/" + listed):
                return i
        return None

    for a, b in same:
        first_row, second_row = find(a), find(b)
        if first_row is not None and second_row is not None:
            join(first_row, second_row)
    return [root(i) for i in range(len(paths))]


def gather_training_set(
    roots: Sequence[Path],
    *,
    config: ExtractorConfig,
    frames_dir: Path,
    genres: GenreSource | None = None,
    same: Sequence[tuple[str, str]] = (),
    jobs: int = 1,
    on_progress: OnProgress | None = None,
) -> TrainingSet:
    """Walk folders and make their music ready for training.

    Parameters
    ----------
    roots : sequence of pathlib.Path
    config : ExtractorConfig
    frames_dir : pathlib.Path
        Of the frame store.
    genres : GenreSource, optional
        Where the labels come from; by default there are none.
    same : sequence of pairs of str
        Of ``read_same_list``.
    jobs : int
        Processes that decode.
    on_progress : callable, optional
        Called with the number of files done and the number of all.

    Returns
    -------
    TrainingSet

    Raises
    ------
    UsageError
        If there is no audio below the folders, or none that can be decoded.
    """
    roots = [Path(os.path.realpath(root)) for root in roots]  # as the walk names what lies below
    walk = find_audio(roots)
    paths = [Path(os.fsdecode(file.path)) for file in walk.files]
    stored = store_frames(paths, frames_dir, config.features, jobs=jobs, on_progress=on_progress)
    usable = [s for s in stored if not s.error]
    skipped = [Skipped(show_path(s.source), s.error) for s in stored if s.error]
    if not usable:
        shown = ", ".join(show_path(root) for root in roots)
        raise UsageError(f"{shown}: no audio that can be decoded. Give folders of music.")
    return TrainingSet(
        tracks=_label(usable, roots, config, genres, same),
        n_hours=round(sum(len(s.load()) for s in usable) * config.features.frame_hop_s / 3600.0, 3),
        sha256=hashlib.sha256("".join(sorted(s.sha256 for s in usable)).encode()).hexdigest(),
        skipped=(*walk.unreadable, *skipped),
    )


def music_sha256(sets: Sequence[TrainingSet], *, by_label: bool) -> str:
    """Return one hash over all that a run hears of its music: what a run that resumes must share.

    Parameters
    ----------
    sets : sequence of TrainingSet
        The training music, and the validation music if that is a set of its own.
    by_label : bool
        Count the labels in, as needed where classes are genres.
    """
    parts = [
        (s.sha256, s.tracks.pool.groups, s.tracks.pool.labels if by_label else ()) for s in sets
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _label(
    usable: Sequence[StoredFrames],
    roots: Sequence[Path],
    config: ExtractorConfig,
    genres: GenreSource | None,
    same: Sequence[tuple[str, str]],
) -> TrainingTracks:
    return gather_tracks(
        [s.load() for s in usable],
        labels=[genre_label(s.source, roots, genres) if genres else "" for s in usable],
        groups=group_tracks([str(s.source) for s in usable], [s.sha256 for s in usable], same),
        albums=[str(s.source.parent) for s in usable],
        window_frames=config.window_frames,
    )


def split_validation(
    tracks: TrainingTracks, *, share: float = 0.1
) -> tuple[TrainingTracks, TrainingTracks]:
    """Set aside a share of the groups for validation, every ``1 / share``-th in order.

    Groups are kept whole, so that nothing heard in training is validated on.  Where there are few
    groups the share is larger, so that two are set aside.
    """
    groups = sorted(set(tracks.pool.groups))
    every = max(2, min(round(1.0 / share), len(groups) // 2))
    held_out = set(groups[every - 1 :: every])
    rows = range(len(tracks.frames))
    return (
        select_tracks(tracks, [i for i in rows if tracks.pool.groups[i] not in held_out]),
        select_tracks(tracks, [i for i in rows if tracks.pool.groups[i] in held_out]),
    )


def select_tracks(tracks: TrainingTracks, rows: Sequence[int]) -> TrainingTracks:
    """Return some of the tracks."""
    pool = tracks.pool
    return TrainingTracks(
        tuple(tracks.frames[i] for i in rows),
        type(pool)(
            moments=tuple(pool.moments[i] for i in rows),
            labels=tuple(pool.labels[i] for i in rows),
            groups=tuple(pool.groups[i] for i in rows),
            albums=tuple(pool.albums[i] for i in rows),
        ),
    )
