"""Render an atlas as one HTML page: a map to move about in, and a table of the same tracks.

The page holds its data as columns: numbers as little-endian arrays in base64, words that recur as
numbers into a list, so that 25,000 tracks stay a few megabytes and need no parsing.
"""

from __future__ import annotations

import base64
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from auditor.api.map import Atlas
from auditor.errors import show_text
from auditor.records import Track
from auditor.report.html.page import (
    ServedPage,
    content_policy,
    environment,
    join_scripts,
    playable,
    source,
)
from auditor.report.html.tracks import provenance_rows
from auditor.report.links import relative_link
from auditor.report.text.general import (
    cluster_name,
    show_count,
    show_score,
    show_when,
    track_facts,
)
from auditor.report.write import write_files

COLOURS = ("genre", "artist", "album", "cluster", "licence")
"""What the tracks can be coloured by."""

SCRIPTS = (
    *("map_data.js", "map_groups.js", "map_draw.js"),
    *("map_move.js", "map_tracks.js", "map_lasso.js", "map.js"),
)
"""Parts of the one script of the page."""

N_STATIC_TRACKS = 200
"""Tracks in the HTML itself, for readers without scripts."""

_GRID = 65535


def write_map(
    atlas: Atlas, path: str | os.PathLike[str], *, colour: str | None = None
) -> tuple[Path, int]:
    """Write an atlas as one HTML file, whole or not at all.

    Parameters
    ----------
    atlas : Atlas
    path : path
        The file; missing folders are made.
    colour : str or None
        See ``render_map``.

    Returns
    -------
    path : pathlib.Path
        The file.
    n_bytes : int
        Its size.

    Raises
    ------
    AuditError
        If the file cannot be written.
    """
    path = Path(path)
    content = render_map(atlas, path.parent, colour=colour).encode("utf-8", "backslashreplace")
    write_files({path: content})
    return path, len(content)


def render_map(
    atlas: Atlas,
    folder: str | os.PathLike[str],
    *,
    colour: str | None = None,
    served: ServedPage | None = None,
) -> str:
    """Return an atlas as one self-contained HTML page, the same text for the same atlas.

    Parameters
    ----------
    atlas : Atlas
    folder : path
        Where the page will lie; its links to the audio files are relative to it.
    colour : str or None
        One of ``COLOURS`` to begin with; by default the first that tells tracks apart.
    served : ServedPage, optional
        The page is served, with its style and script (``served_map_assets``) at these URLs and its
        policy in a header; it has no links to audio files.

    Raises
    ------
    ValueError
        If the colour is none of ``COLOURS``.
    """
    if colour is not None and colour not in COLOURS:
        raise ValueError(f"colour is {colour!r}; it must be one of {', '.join(COLOURS)}")
    pages = environment()
    style, script = served_map_assets().values()
    columns = {name: _words(name, atlas) for name in COLOURS}
    return pages.get_template("map.html.j2").render(
        _view(atlas, columns),
        data=_data(atlas, columns, None if served is not None else folder),
        colours=COLOURS,
        colour=colour or first_telling(columns),
        policy=Markup(playable(content_policy(style, script))),
        style=Markup(style),
        script=Markup(script),
        served=served,
    )


def served_map_assets() -> dict[str, str]:
    """Return the style and the script of the map, by the names of their files."""
    pages = environment()
    return {
        "map.css": source(pages, "report.css") + source(pages, "map.css"),
        "map.js": join_scripts(pages, SCRIPTS),
    }


def first_telling(columns: dict[str, list[str]]) -> str:
    """Return the first column that holds two different words; the first one if none does.

    Examples
    --------
    >>> first_telling({"genre": ["", ""], "artist": ["one", ""], "album": ["a", "b"]})
    'album'
    """
    telling = (
        name for name, words in columns.items() if len({w.casefold() for w in words if w}) > 1
    )
    return next(telling, next(iter(columns)))


def _words(name: str, atlas: Atlas) -> list[str]:
    if name == "cluster":
        return [f"Cluster {cluster_name(n + 1)}" if n >= 0 else "" for n in atlas.cluster_of]
    if name == "genre":
        return [show_text(t.genres[0] if t.genres else t.genre) for t in atlas.tracks]
    return [show_text(getattr(track, name)) for track in atlas.tracks]


def _view(atlas: Atlas, columns: dict[str, list[str]]) -> dict[str, Any]:
    n_clusters = len({number for number in atlas.cluster_of if number >= 0})
    headline = f"Map of {show_count(len(atlas.tracks), 'track')}"
    if atlas.pairs:
        pairs = show_count(len(atlas.pairs), "flagged pair")
        headline += f", {pairs} in {show_count(n_clusters, 'cluster')}"
    labels = [show_text(track.label) for track in atlas.tracks[:N_STATIC_TRACKS]]
    made = atlas.provenance
    *rows, time_taken = provenance_rows(made)
    provenance = [*rows, ("Places by", atlas.method), time_taken]
    return {
        "headline": headline,
        "created": show_when(made.created),
        "provenance": [(name, value) for name, value in provenance if value],
        "tiles": (),
        "skipped": (),
        "notes": atlas.notes,
        "n_tracks": f"{len(atlas.tracks):,}",
        "n_pairs": len(atlas.pairs),
        "all_shown": len(atlas.tracks) <= N_STATIC_TRACKS,
        "rows": [
            (
                label,
                track_facts(track),
                columns["genre"][row] or "–",
                _show_place(atlas, row),
                _show_nearest(atlas, row),
            )
            for row, (label, track) in enumerate(zip(labels, atlas.tracks, strict=False))
        ],
    }


def _show_place(atlas: Atlas, row: int) -> str:
    x, y = atlas.place.positions[row]
    return f"{x:.2f}, {y:.2f}".replace("-", "−")


def _show_nearest(atlas: Atlas, row: int) -> list[tuple[str, str]]:
    neighbours, scores = atlas.place.neighbours[row], atlas.place.scores[row]
    return [
        (atlas.tracks[other].label, show_score(float(score)))
        for other, score in zip(neighbours[:3], scores, strict=False)
    ]


def _data(
    atlas: Atlas, columns: dict[str, list[str]], folder: str | os.PathLike[str] | None
) -> dict[str, Any]:
    place = atlas.place
    return {
        "n": len(atlas.tracks),
        "k": place.neighbours.shape[1],
        "ids": [track.id for track in atlas.tracks],
        "labels": [show_text(track.label) for track in atlas.tracks],
        "facts": [_facts(track) for track in atlas.tracks],
        "links": [
            relative_link(path, folder) if path and folder is not None else ""
            for path in atlas.paths
        ],
        "columns": {name: _column(words) for name, words in columns.items()},
        "positions": _base64(np.rint((place.positions + 1.0) / 2.0 * _GRID), "<u2"),
        "neighbours": _base64(place.neighbours, "<u4"),
        "scores": _base64(np.rint(place.scores * 1e4), "<i2"),
        "pairs": [[a, b, show_score(pair.score), pair.verdict] for a, b, pair in atlas.pairs],
    }


def _facts(track: Track) -> str:
    facts = (track_facts(track), track.album, track.date)
    return " · ".join(show_text(fact) for fact in facts if fact)


def _column(words: Sequence[str]) -> dict[str, Any]:
    """Return words as numbers into the list of the different ones; 0 is the empty word.

    Words that differ only in case are one word, in the spelling that is met most often.
    """
    spellings = Counter(words)
    numbers: dict[str, int] = {"": 0}
    of = [numbers.setdefault(word.casefold(), len(numbers)) for word in words]
    shown: list[str] = [""] * len(numbers)
    for word, _ in reversed(spellings.most_common()):
        shown[numbers[word.casefold()]] = word
    return {"words": shown, "of": _base64(np.array(of), "<u4")}


def _base64(values: np.ndarray, dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype).data).decode()
