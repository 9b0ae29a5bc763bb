"""Tags and genres of the Free Music Archive dataset, from its ``tracks.csv`` and ``genres.csv``.

The layout is that of ``fma_metadata.zip``: ``tracks.csv`` has two rows of column names (such as
``track`` over ``title``), a third that names the index, and one row a track; ``genres.csv`` holds
the tree of genres.

References
----------
Defferrard, Benzi, Vandergheynst and Bresson (2017), FMA: A Dataset for Music Analysis,
arXiv:1612.01840.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from auditor.errors import UsageError, show_path

if TYPE_CHECKING:
    from _csv import Reader as CsvReader
from auditor.errors import clean_text

MAX_CELL = 4 * 2**20
"""Longest cell accepted, in characters; artists' biographies are the longest real ones."""

_ID_LIST = re.compile(r"\[\s*(?:\d{1,9}\s*(?:,\s*\d{1,9}\s*)*)?\]", re.ASCII)
_NUMBER = re.compile(r"\d{1,9}", re.ASCII)
_FMA_PATH = re.compile(r"(?:^|[/\\])(\d{3})[/\\](\1\d{3})\.mp3\Z", re.ASCII | re.IGNORECASE)

_COLUMNS = (
    ("track", "title"),
    ("artist", "name"),
    ("album", "title"),
    ("track", "genre_top"),
    ("track", "genres"),
    ("track", "genres_all"),
    ("album", "date_released"),
    ("track", "date_created"),
    ("track", "license"),
    ("set", "subset"),
    ("set", "split"),
)
_NEEDED = (("track", "title"), ("artist", "name"))
_ADVICE = "Give the unpacked folder of fma_metadata.zip."


@dataclass(frozen=True)
class FmaTrack:
    """What FMA says of one track; empty where it says nothing.

    Attributes
    ----------
    id : int
        FMA's track number.
    title, artist, album, licence : str
    genre : str
        Top-level genre; where FMA names none, because the track's genres lie under several, that of
        the first genre listed.
    genres : tuple of str
        Path of the track's deepest genre below ``genre``, from the top level down.
    date : str
        Year, month and day of the album's release, else of the upload.
    subset : str
        ``small``, ``medium``, ``large`` or ``full``.
    split : str
        ``training``, ``validation`` or ``test``.
    """

    id: int
    title: str
    artist: str
    album: str
    genre: str
    genres: tuple[str, ...]
    date: str
    licence: str
    subset: str
    split: str = ""


class FmaMetadata:
    """The metadata of all tracks; made by ``load_fma``."""

    def __init__(self, rows: dict[int, tuple[str, ...]], paths: dict[int, tuple[str, ...]]) -> None:
        self._rows = rows
        self._paths = paths

    def __len__(self) -> int:
        return len(self._rows)

    def track(self, track_id: int) -> FmaTrack | None:
        """Return what is known of a track, None if FMA has no track of this number."""
        row = self._rows.get(track_id)
        if row is None:
            return None
        cells = dict(zip(_COLUMNS, row, strict=True))
        text = {column: clean_text(cell) for column, cell in cells.items()}
        top = text["track", "genre_top"]
        path = self._path(top, cells["track", "genres"]) or self._path(
            top, cells["track", "genres_all"]
        )
        return FmaTrack(
            id=track_id,
            title=text["track", "title"],
            artist=text["artist", "name"],
            album=text["album", "title"],
            genre=top or next(iter(path), ""),
            genres=path or ((top,) if top else ()),
            date=(text["album", "date_released"] or text["track", "date_created"])[:10],
            licence=text["track", "license"],
            subset=text["set", "subset"],
            split=text["set", "split"],
        )

    def _path(self, top: str, id_list: str) -> tuple[str, ...]:
        """Return the longest path below ``top``, or below the first genre's root without one."""
        paths = [p for n in _NUMBER.findall(id_list) if (p := self._paths.get(int(n)))]
        top = top or (paths[0][0] if paths else "")
        return max((p for p in paths if p[0] == top), key=len, default=())


def load_fma(metadata_dir: str | os.PathLike[str]) -> FmaMetadata:
    """Read ``tracks.csv`` and ``genres.csv``.

    Parameters
    ----------
    metadata_dir : path
        The folder ``fma_metadata``.

    Returns
    -------
    FmaMetadata

    Raises
    ------
    UsageError
        If a file is absent or does not have the layout of FMA; names file and line.
    """
    folder = Path(metadata_dir)
    return FmaMetadata(_load_tracks(folder / "tracks.csv"), _load_genres(folder / "genres.csv"))


def track_id_from_path(path: str | os.PathLike[str] | bytes) -> int | None:
    """Return the track number in a path of FMA's audio folders, None for any other path.

    Examples
    --------
    >>> track_id_from_path("fma_small/000/000002.mp3")
    2
    >>> track_id_from_path("fma_small/001/000002.mp3") is None
    True
    """
    match = _FMA_PATH.search(os.fsdecode(path))
    return int(match[2]) if match else None


def _load_tracks(file: Path) -> dict[int, tuple[str, ...]]:
    rows: dict[int, tuple[str, ...]] = {}
    with _reading(file) as reader:
        upper, lower, index = [next(reader, []) for _ in range(3)]
        columns = list(zip(upper, lower, strict=False))
        if absent := [c for c in _NEEDED if c not in columns]:
            raise _malformed(
                file,
                reader,
                f"no column {absent[0][0]!r} over {absent[0][1]!r} in the first two rows",
            )
        if index[:1] != ["track_id"]:
            raise _malformed(file, reader, f"{(index or [''])[0]!r:.40} in place of 'track_id'")
        # An absent column reads from the empty cell that is added to each row.
        places = [columns.index(c) if c in columns else len(upper) for c in _COLUMNS]
        lists = [i for i, (_, name) in enumerate(_COLUMNS) if name in ("genres", "genres_all")]
        good_lists = {""}
        for row in reader:
            if not row:
                continue
            if len(row) != len(upper):
                raise _malformed(file, reader, f"{len(row)} cells in place of {len(upper)}")
            if not _NUMBER.fullmatch(row[0]):
                raise _malformed(file, reader, f"{row[0]!r:.40} in place of a track number")
            track_id = int(row[0])
            if track_id in rows:
                raise _malformed(file, reader, f"track {track_id} appears twice")
            row.append("")
            cells = tuple([row[place] for place in places])
            for i in lists:
                if cells[i] not in good_lists:
                    if not _ID_LIST.fullmatch(cells[i]):
                        raise _malformed(
                            file, reader, f"{cells[i]!r:.40} in place of genre ids like '[21, 103]'"
                        )
                    good_lists.add(cells[i])
            rows[track_id] = cells
    return rows


def _load_genres(file: Path) -> dict[int, tuple[str, ...]]:
    """Return the path of every genre from the top level down."""
    titles: dict[int, str] = {}
    parents: dict[int, int] = {}
    with _reading(file) as reader:
        header = next(reader, [])
        if absent := [c for c in ("genre_id", "parent", "title") if c not in header]:
            raise _malformed(file, reader, f"no column {absent[0]!r} in the first row")
        places = [header.index(c) for c in ("genre_id", "parent", "title")]
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                raise _malformed(file, reader, f"{len(row)} cells in place of {len(header)}")
            number, parent, title = (row[place] for place in places)
            if not (_NUMBER.fullmatch(number) and _NUMBER.fullmatch(parent or "0")):
                raise _malformed(
                    file, reader, f"{number!r:.20} and {parent!r:.20} in place of genre ids"
                )
            titles[int(number)], parents[int(number)] = clean_text(title), int(parent or "0")
    return {number: _genre_path(number, titles, parents) for number in titles}


def _genre_path(number: int, titles: dict[int, str], parents: dict[int, int]) -> tuple[str, ...]:
    path: list[str] = []
    seen: set[int] = set()
    while number in titles and number not in seen:  # a cycle ends where it closes
        seen.add(number)
        path.append(titles[number])
        number = parents[number]
    return tuple(reversed(path))


@contextmanager
def _reading(file: Path) -> Iterator[CsvReader]:
    """Open a CSV file and turn its errors into UsageError."""
    limit = csv.field_size_limit(MAX_CELL)
    try:
        with open(file, encoding="utf-8-sig", errors="replace", newline="") as lines:
            reader = csv.reader(lines, strict=True)
            try:
                yield reader
            except csv.Error as error:
                raise _malformed(file, reader, str(error)) from None
    except OSError as error:
        raise UsageError(f"{show_path(file)}: {error.strerror}. {_ADVICE}") from None
    finally:
        csv.field_size_limit(limit)


def _malformed(file: Path, reader: CsvReader, what: str) -> UsageError:
    return UsageError(f"{show_path(file)}, line {reader.line_num}: {what}. {_ADVICE}")
