"""Writing the excerpt index: shards for what is new, and few of them.

Tracks that came since the last time are written to a shard of their own; four shards of like size
become one, so that a catalogue of any size has few shards and every track is written a few times
only (a log-structured merge).  A shard that is damaged or more than half out of date is given up
and its tracks are written again.  One process writes, under the workspace's lock.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from auditor.parallel import OnProgress
from auditor.search.excerpts.backends.annoy import ExcerptConfig, distinct_windows, main_axes
from auditor.search.excerpts.index import ExcerptIndex, ExcerptSource, read_shards
from auditor.search.excerpts.shards import (
    ShardWriter,
    read_shard,
    remove_old_shards,
    remove_shard,
    remove_strays,
)

FACTOR = 4
"""Shards of like size that become one; sizes are alike within this factor."""

SMALL_ROWS = 4096
"""Shards below this size are all alike: some two hours of music."""

MAX_ROWS = 2_000_000
"""A shard is not made larger: Annoy builds in memory, some 270 bytes a row."""

N_FOR_AXES = 200
"""Tracks of a shard whose d-vectors decide its axes."""


class RefreshedExcerpts(NamedTuple):
    """An index that is up to date, the tracks and shards written, and why shards were given up."""

    index: ExcerptIndex  # type: ignore[assignment]  # tuple.index is never asked for
    n_tracks: int
    n_shards: int
    reasons: tuple[str, ...]


def refresh_excerpts(
    directory: str | os.PathLike[str],
    source: ExcerptSource,
    *,
    hop_s: float,
    config: ExcerptConfig | None = None,
    on_progress: OnProgress | None = None,
    verify: bool = False,
) -> RefreshedExcerpts:
    """Bring the shards up to date; the caller holds the workspace's lock.

    Shards that are damaged, of another config or more than half out of date are given up, and
    their tracks written again.  Those of other extractors stay, unless they are of an older layout.
    Killed at any point, what is whole is kept.

    Parameters
    ----------
    directory, source, hop_s, verify
        As for ``open_excerpts``; the folder is made where it is missing.
    config : ExcerptConfig, optional
        By default with the backend that the shards there have, Annoy if there is none.
    on_progress : callable, optional
        Called with the tracks written and the tracks to write.

    Raises
    ------
    CatalogueError
        If d-vectors cannot be read.
    IndexFileError
        If Annoy cannot be given the path of the directory.
    """
    folder = Path(directory)
    if not source.versions:  # nothing is known of the tracks, as when their disk is not there
        return RefreshedExcerpts(ExcerptIndex((), source, hop_s=hop_s), 0, 0, ())
    remove_strays(folder, source.weights_id)
    shards, damaged = read_shards(folder, source, verify=verify)
    remove_old_shards(folder)
    index = ExcerptIndex(shards, source, hop_s=hop_s)
    if config is None:
        backends = [shard.sidecar.config.backend for shard in index.shards]
        config = ExcerptConfig(backend=backends[0]) if backends else ExcerptConfig()
    reasons = [str(error) for error in damaged.values()]
    outdated = list(damaged)
    for shard, n_current, rows in zip(
        index.shards, index.n_current_rows, index.current, strict=True
    ):
        if shard.sidecar.config != config:
            reasons.append(f"{shard.path.name} was made with {shard.sidecar.config}")
        elif not (rows >= 0).any() or 2 * n_current < shard.sidecar.n_items:
            reasons.append(f"{shard.path.name} is more than half out of date")
        else:
            continue
        outdated.append(shard.path)
    kept = [shard for shard in index.shards if shard.path not in outdated]
    index = ExcerptIndex(kept, source, hop_s=hop_s)
    todo: Sequence[str] = index.uncovered
    n_tracks = n_shards = 0
    while todo:
        for path in _write(folder, source, config, todo, n_tracks, on_progress):
            kept.append(read_shard(path, source.weights_id, source.n_dims))
            n_shards += 1
        n_tracks += len(todo)
        for path in set(outdated) - {
            shard.path for shard in kept
        }:  # the same tracks, the same name
            remove_shard(path)
        index = ExcerptIndex(kept, source, hop_s=hop_s)
        alike = _alike(index.n_current_rows)
        todo = sorted(i for s in alike for i in index.current_ids(s))
        outdated = [index.shards[s].path for s in alike]
        kept = [shard for shard in index.shards if shard.path not in outdated]
    for path in outdated:
        remove_shard(path)
    return RefreshedExcerpts(index, n_tracks, n_shards, tuple(reasons))


def _write(
    folder: Path,
    source: ExcerptSource,
    config: ExcerptConfig,
    ids: Sequence[str],
    n_done: int,
    on_progress: OnProgress | None,
) -> Iterator[Path]:
    """Write tracks to as few shards as their size allows; yield the sidecar of each."""
    sample = ids[:: -(-len(ids) // N_FOR_AXES)]
    rows = np.concatenate([distinct_windows(*source.read(i), config)[1] for i in sample])
    axes = main_axes(rows, config.n_axes)
    writer = ShardWriter(folder, source.weights_id, config, axes)
    for n, track_id in enumerate(ids, n_done + 1):
        windows, rows = distinct_windows(*source.read(track_id), config)
        if writer.n_items and writer.n_items + len(rows) > MAX_ROWS:
            yield writer.close()
            writer = ShardWriter(folder, source.weights_id, config, axes)
        writer.add(track_id, source.versions[track_id], windows, rows)
        if on_progress is not None:
            on_progress(n, n_done + len(ids))
    yield writer.close()


def _alike(n_rows: Sequence[int]) -> list[int]:
    """Return the positions of shards that should become one; empty when there are none."""
    levels: dict[int, list[int]] = {}
    for position, n in sorted(enumerate(n_rows), key=lambda item: (item[1], item[0])):
        level = 0 if n < SMALL_ROWS else 1 + int(math.log(n / SMALL_ROWS, FACTOR))
        levels.setdefault(level, []).append(position)
    for _, members in sorted(levels.items()):
        sizes = np.cumsum([n_rows[position] for position in members])
        fitting = members[: int(np.searchsorted(sizes, MAX_ROWS, "right"))]
        if len(members) >= FACTOR and len(fitting) >= 2:
            return fitting
    return []
