"""The splits of a data set, found by the layout that it has on disk.

Known layouts:

* collections that were named one by one (``audit leak TRAIN TEST``),
* a folder with the folders ``train``, ``test`` and ``val`` (or their common other names),
* a table with the columns ``path`` and ``split``,
* the Free Music Archive: its folders of audio, and ``set.split`` of ``tracks.csv``,
* MTG-Jamendo: a folder with ``autotagging-train.tsv``, ``-validation.tsv`` and ``-test.tsv``,
* GTZAN: a folder with ``train_filtered.txt``, ``valid_filtered.txt`` and ``test_filtered.txt``,
* a folder that Hugging Face's ``datasets`` saved (``ingest.huggingface``).

References
----------
Bogdanov, Won, Tovstogan, Porter and Serra (2019), The MTG-Jamendo dataset for automatic music
tagging, ICML ML4MD workshop.  Kereliuk, Sturm and Larsen (2015), Deep learning and music
adversaries, arXiv:1507.04761 (the filtered split of GTZAN).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from auditor.audio.files import find_audio
from auditor.audio.fma_tags import FmaMetadata, track_id_from_path
from auditor.errors import UsageError, show_path
from auditor.ingest.collections import Collection, list_collection, parse_collection
from auditor.ingest.huggingface import table_files, unpack_audio
from auditor.ingest.path_lists import (
    LIST_SUFFIXES,
    SPLIT_COLUMNS,
    ListEntry,
    read_path_list,
    resolve,
)

SPLITS = ("train", "val", "test")
"""Names of splits; a leak is from an earlier one to a later one."""

_ALIASES = {
    **dict.fromkeys(("train", "training", "trn", "tr"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "devel", "development"), "val"),
    **dict.fromkeys(("test", "testing", "tst", "eval", "evaluation", "holdout"), "test"),
}
_LIST_NAMES = ("autotagging-{}.tsv", "{}_filtered.txt", "{}.csv", "{}.tsv", "{}.txt", "{}.m3u")
_GTZAN = frozenset("blues classical country disco hiphop jazz metal pop reggae rock".split())


@dataclass(frozen=True)
class NamedSplit:
    """A split and its files.

    Attributes
    ----------
    name : str
        One of ``SPLITS``.
    collection : Collection
    """

    name: str
    collection: Collection


def split_name(text: str) -> str:
    """Return which of ``SPLITS`` a word means, empty for none.

    Examples
    --------
    >>> split_name("Training"), split_name("validation"), split_name("fold3")
    ('train', 'val', '')
    """
    return _ALIASES.get(text.strip().lower(), "")


def name_splits(
    train: str, test: str, val: str | None = None, *, audio: Path | None = None
) -> list[NamedSplit]:
    """Return splits that were named one by one.

    Parameters
    ----------
    train, test, val : str
        See ``collections.parse_collection``.
    audio : pathlib.Path, optional
        Folder that paths of lists are relative to, in place of that of the list.

    Raises
    ------
    UsageError
        If one of them is no collection.
    """
    named = (("train", train), ("test", test), ("val", val))
    return [NamedSplit(name, _collection(text, audio)) for name, text in named if text is not None]


def _collection(text: str, audio: Path | None) -> Collection:
    path = Path(text)
    if audio is not None and path.is_file() and path.suffix.lower() in LIST_SUFFIXES:
        return list_collection(show_path(text), _located(path, read_path_list(path), audio))
    return parse_collection(text)


def _located(file: Path, entries: Iterable[ListEntry], audio: Path | None) -> list[bytes]:
    """Return the paths of a list, looked for below a folder where one is given."""
    folder = os.path.abspath(os.fsencode(file.parent))
    found = []
    for entry in entries:
        path = entry.path
        if audio is not None:
            inside = path.startswith(folder.rstrip(b"/") + b"/")
            path = resolve(audio, os.path.relpath(path, folder) if inside else path)
        found.append(_jamendo_path(path))
    return found


def _jamendo_path(path: bytes) -> bytes:
    """Return a path, or that of MTG-Jamendo's low-quality file where only this is there."""
    stem, suffix = os.path.splitext(path)
    low = stem + b".low" + suffix
    return low if not os.path.exists(path) and os.path.exists(low) else path


def find_splits(
    dataset: str,
    *,
    unpack_to: Path,
    audio: Path | None = None,
    fma: FmaMetadata | None = None,
) -> list[NamedSplit]:
    """Return the splits of a data set by its layout.

    Parameters
    ----------
    dataset : str
        A folder, or a table with a column of splits.
    unpack_to : pathlib.Path
        Folder for audio that lies inside tables (Hugging Face's ``datasets``).
    audio : pathlib.Path, optional
        Folder that paths of lists are relative to.
    fma : FmaMetadata, optional
        The data set is the Free Music Archive.

    Raises
    ------
    UsageError
        If there are no two splits; says which layouts are known.
    """
    path = Path(dataset)
    shown = show_path(dataset)
    if not path.exists():
        raise UsageError(
            f"{shown} does not exist. Give the folder of a data set, or a table with the columns "
            "path and split, or two collections: audit leak TRAIN TEST."
        )
    if fma is not None:
        return _fma_splits(shown, path, fma)
    if path.is_file():
        return _table_splits(shown, path, audio)
    if tables := table_files(path):
        return _unpacked_splits(shown, tables, path, unpack_to)
    for layout in (_folder_splits, _list_splits):
        found = layout(path, audio)
        if len(found) > 1:
            return found
    raise UsageError(_no_splits(shown, path))


def _no_splits(shown: str, path: Path) -> str:
    folders = {entry.name.lower() for entry in path.iterdir() if entry.is_dir()}
    if len(folders & _GTZAN) > 5:
        return (
            f"{shown} has the folders of GTZAN, which say nothing of splits. Put "
            "train_filtered.txt, valid_filtered.txt and test_filtered.txt beside them, or give the "
            "splits by name: audit leak TRAIN TEST. For duplicates in all of it, run: audit scan"
        )
    return (
        f"{shown} has no layout that is known: folders train and test, tables of paths (such as "
        "autotagging-train.tsv or train_filtered.txt), a table with the columns path and split, "
        "or FMA's folders with --fma. Give two collections: audit leak TRAIN TEST."
    )


def _unpacked_splits(
    shown: str, tables: dict[str, list[Path]], path: Path, unpack_to: Path
) -> list[NamedSplit]:
    named = {name: split_name(name) for name in tables}
    if len({name for name in named.values() if name}) < 2 or "" in named.values():
        raise UsageError(
            f"{shown} has the splits {', '.join(map(show_path, sorted(named)))}; two of train, val "
            "and test, and no others, are needed."
        )
    folder = unpack_to / hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:16]
    return [
        NamedSplit(
            named[name],
            list_collection(
                f"{shown} ({show_path(name)})", unpack_audio(files, folder / named[name])
            ),
        )
        for name, files in tables.items()
    ]


def _folder_splits(path: Path, audio: Path | None) -> list[NamedSplit]:
    found: dict[str, Path] = {}
    for entry in sorted(path.iterdir()):
        name = split_name(entry.name)
        if name and entry.is_dir():
            if name in found:
                raise UsageError(
                    f"{show_path(path)} has two folders for {name}: {show_path(found[name].name)} "
                    f"and {show_path(entry.name)}. Name the splits: audit leak TRAIN TEST."
                )
            found[name] = entry
    return [NamedSplit(name, parse_collection(str(folder))) for name, folder in found.items()]


def _list_splits(path: Path, audio: Path | None) -> list[NamedSplit]:
    """Return splits whose lists lie in a folder, all named in one way."""
    for pattern in _LIST_NAMES:
        found: dict[str, Path] = {}
        for alias, name in _ALIASES.items():
            file = path / pattern.format(alias)
            if name not in found and file.is_file():
                found[name] = file
        if len(found) > 1:
            return [
                NamedSplit(
                    name,
                    list_collection(show_path(file), _located(file, read_path_list(file), audio)),
                )
                for name, file in found.items()
            ]
    return []


def _table_splits(shown: str, path: Path, audio: Path | None) -> list[NamedSplit]:
    entries = read_path_list(path)
    columns = entries[0].values if entries else {}
    column = next((name for name in SPLIT_COLUMNS if name in columns), "")
    if not column:
        raise UsageError(
            f"{shown} has no column that says which split a file belongs to; one of "
            f"{', '.join(SPLIT_COLUMNS)} is needed. Or give two lists: audit leak TRAIN TEST."
        )
    by_split: dict[str, list[ListEntry]] = {}
    unknown: dict[str, int] = {}
    for entry in entries:
        said = entry.values.get(column, "")
        name = split_name(said)
        if name:
            by_split.setdefault(name, []).append(entry)
        else:
            unknown[said] = unknown.get(said, 0) + 1
    if len(by_split) < 2:
        words = ", ".join(repr(word) for word in sorted(unknown)[:5]) or "one value only"
        raise UsageError(
            f"{shown}: the column {column} has no two of train, val and test, but {words}. Name "
            "the splits so, or give two lists: audit leak TRAIN TEST."
        )
    if unknown:
        word = min(unknown)
        raise UsageError(
            f"{shown}: {sum(unknown.values()):,} rows are of no known split, such as {word!r:.40}. "
            "Call splits train, val or test, or leave such rows out."
        )
    return [
        NamedSplit(name, list_collection(f"{shown} ({name})", _located(path, rows, audio)))
        for name, rows in by_split.items()
    ]


def _fma_splits(shown: str, path: Path, fma: FmaMetadata) -> list[NamedSplit]:
    by_split: dict[str, list[bytes]] = {}
    for file in find_audio([path]).files:
        number = track_id_from_path(file.path)
        track = fma.track(number) if number is not None else None
        name = split_name(track.split) if track is not None else ""
        if name:
            by_split.setdefault(name, []).append(file.path)
    if len(by_split) < 2:
        raise UsageError(
            f"{shown} holds files of {len(by_split)} split of FMA; two are needed. Give the folder "
            "of audio, such as fma_large, and with --fma that of tracks.csv."
        )
    return [
        NamedSplit(name, list_collection(f"{shown} ({name})", paths))
        for name, paths in by_split.items()
    ]
