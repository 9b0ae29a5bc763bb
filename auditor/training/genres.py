"""The genre of a file: what the loss calls a class when classes are genres.

A genre is the file's tag, FMA's (top-level or the deepest), a folder, or what a list of paths says.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from auditor.audio.fma_tags import FmaMetadata, track_id_from_path
from auditor.audio.isolated import read_tags
from auditor.errors import UsageError, show_path

GENRE_SOURCES = ("tag", "fma", "fma-leaf", "parent", "top", "list")


@dataclass(frozen=True)
class GenreSource:
    """Where genres come from.

    Attributes
    ----------
    kind : str
        ``tag``: the file's genre tag.  ``fma``: FMA's top-level genre; ``fma-leaf``: the deepest
        one.  ``parent``: the folder the file lies in; ``top``: the first folder below the walked
        one.  ``list``: what ``listed`` says.
    fma : FmaMetadata, optional
        Needed for ``fma`` and ``fma-leaf``.
    listed : mapping of str to str, optional
        Of ``read_genre_list``; needed for ``list``.

    Raises
    ------
    ValueError
        If the kind is unknown, or what it needs is not given.
    """

    kind: str = "parent"
    fma: FmaMetadata | None = None
    listed: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        if self.kind not in GENRE_SOURCES:
            raise ValueError(f"kind is {self.kind!r}; it must be one of {', '.join(GENRE_SOURCES)}")
        if self.kind in ("fma", "fma-leaf") and self.fma is None:
            raise ValueError(f"kind is {self.kind!r}; FMA metadata is needed for it")
        if self.kind == "list" and self.listed is None:
            raise ValueError("kind is 'list'; a list of genres is needed for it")


def genre_label(path: Path, roots: Sequence[Path], source: GenreSource) -> str:
    """Return the genre of a file, or an empty string.

    Parameters
    ----------
    path : pathlib.Path
    roots : sequence of pathlib.Path
        The folders that were walked.
    source : GenreSource

    Examples
    --------
    >>> listed = GenreSource("list", listed={"a/": "jazz", "a/live": "soul"})
    >>> genre_label(Path("/m/a/live-1.mp3"), [Path("/m")], listed)
    'soul'
    """
    if source.kind == "tag":
        return read_tags(path).genre.strip().lower()
    if source.kind in ("fma", "fma-leaf"):
        number = track_id_from_path(path)
        track = source.fma.track(number) if source.fma and number is not None else None
        if track is None or not track.genres:
            return ""
        return track.genres[0 if source.kind == "fma" else -1]
    if source.kind == "parent":
        return path.parent.name
    root, parts = _below(path, roots)
    if source.kind == "top":
        return parts[0] if len(parts) > 1 else root.name
    below = "/".join(("", *parts))
    listed = source.listed or {}
    starts = [start for start in listed if f"/{start}" in below]
    return listed[max(starts, key=len)] if starts else ""


def _below(path: Path, roots: Sequence[Path]) -> tuple[Path, tuple[str, ...]]:
    """Return the walked folder that a file lies below, and the parts of its path from there."""
    for root in roots:
        if path != root and path.is_relative_to(root):
            return root, path.relative_to(root).parts
    return path.parent, (path.parent.name, path.name)


def read_genre_list(path: str | os.PathLike[str]) -> dict[str, str]:
    """Read a TSV of genres: a header, then starts of paths and the genre of what begins with them.

    A start matches from any folder on below the walked one; of several that match the longest
    counts: ``game/music/`` is a folder, ``game/music/Chopin`` are the files in it that begin so.
    Further columns are notes; empty lines are passed over.

    Returns
    -------
    dict of str to str
        Genre of each start, in the order of the file.

    Raises
    ------
    UsageError
        If the file cannot be read, a row lacks path or genre, or a path stands there twice.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{show_path(path)} cannot be read: {error}.") from None
    listed: dict[str, str] = {}
    for number, row in enumerate(rows[1:], 2):
        if not row:
            continue
        start, genre = (cell.strip() for cell in (*row, "")[:2])
        if not start.strip("/") or not genre:
            raise UsageError(
                f"{show_path(path)}, line {number}: the start of a path and a genre are needed, "
                "with a tab between them."
            )
        if start.lstrip("/") in listed:
            raise UsageError(
                f"{show_path(path)}, line {number}: {show_path(start)} appears twice. Keep one of "
                "the two lines."
            )
        listed[start.lstrip("/")] = genre
    return listed
