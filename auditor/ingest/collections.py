"""What a side of a comparison may be: a folder, a list, a workspace, or a part of a workspace.

A text names a collection.  What exists on disk under that name comes first:

* a folder of music, an audio file, or a URL,
* a list: ``.csv``, ``.tsv``, ``.parquet`` (a column of paths), ``.m3u``, ``.m3u8`` or ``.txt``,
* a folder that is a workspace: all of its tracks,
* ``WORKSPACE@TAG=VALUE``, ``WORKSPACE@folder=DIR`` or ``WORKSPACE@id=ID,ID``: some of its tracks,
  and without a workspace, as in ``@genre=rock``, those of the workspace in use.

Whatever is not yet in the workspace in use is embedded, once; what another workspace holds is
copied from it with its embeddings.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path

from auditor.audio.files import find_audio, real_path
from auditor.audio.fma_tags import FmaMetadata
from auditor.audio.object_store import is_object
from auditor.catalogue.catalogue import Catalogue
from auditor.catalogue.sources import normalise_tag
from auditor.errors import CatalogueError, DamagedTrackError, UsageError, show_path
from auditor.ingest.path_lists import LIST_SUFFIXES, read_path_list
from auditor.ingest.prepare import Embedder
from auditor.ingest.session import OnEvent, ingest
from auditor.records import Skipped, Track, TrackEmbedding
from auditor.workspace import Workspace

CATALOGUE_FILE = "catalogue.sqlite3"
"""What makes a folder a workspace."""

SELECTORS = ("artist", "album", "title", "genre", "date", "licence", "codec", "folder", "id")
"""What picks tracks of a workspace."""


class CollectionKind(StrEnum):
    """What a collection was named by."""

    FOLDER = "folder"
    LIST = "list"
    WORKSPACE = "workspace"
    SUBSET = "subset"


@dataclass(frozen=True)
class Collection:
    """A collection as it was named; made by ``parse_collection``.

    Attributes
    ----------
    name : str
        As typed, printable.
    kind : CollectionKind
    roots : tuple of bytes
        Folders, files and URLs to look through.
    workspace : pathlib.Path or None
        Another workspace, or None for the one in use.
    selector, value : str
        One of ``SELECTORS`` and what it must be; empty for all tracks.
    missing : tuple of Skipped
        Entries of a list that do not exist.
    """

    name: str
    kind: CollectionKind
    roots: tuple[bytes, ...] = ()
    workspace: Path | None = None
    selector: str = ""
    value: str = ""
    missing: tuple[Skipped, ...] = ()


@dataclass(frozen=True)
class TakenCollection:
    """A collection whose tracks are in the catalogue.

    Attributes
    ----------
    collection : Collection
    ids : frozenset of str
        Its tracks, silent and damaged ones too.
    skipped : tuple of Skipped
        Files that could not be used, and entries that do not exist, by path.
    paths : dict of bytes to str
        Path of each file that was named or found, to its track.
    """

    collection: Collection
    ids: frozenset[str]
    skipped: tuple[Skipped, ...]
    paths: dict[bytes, str] = field(default_factory=dict)

    def lies_in(self, outer: TakenCollection) -> bool:
        """Say whether this is a folder inside another one."""
        folders = {self.collection.kind, outer.collection.kind} == {CollectionKind.FOLDER}
        return folders and self.ids < outer.ids


def parse_collection(text: str) -> Collection:
    """Return the collection that a text names.

    Raises
    ------
    UsageError
        If there is none, a list cannot be read, or none of its entries exists.

    Examples
    --------
    >>> parse_collection("@genre=rock").selector
    'genre'
    """
    name = show_path(text)
    if is_object(os.fsencode(text)):
        return Collection(name, CollectionKind.FOLDER, (os.fsencode(text),))
    path = Path(text)
    if not path.exists() and "@" in text:
        return _subset(text)
    if path.is_file() and path.suffix.lower() in LIST_SUFFIXES:
        return list_collection(name, [entry.path for entry in read_path_list(path)])
    if (path / CATALOGUE_FILE).is_file():
        return Collection(name, CollectionKind.WORKSPACE, workspace=path)
    if not path.exists():
        raise UsageError(
            f"{name} does not exist. Give a folder of music, a list of paths (csv, tsv, parquet, "
            "m3u, txt), a workspace, or a part of one such as @genre=rock."
        )
    return Collection(name, CollectionKind.FOLDER, (os.fsencode(text),))


def list_collection(name: str, paths: Iterable[bytes]) -> Collection:
    """Return the collection of the files and folders that a list names.

    Raises
    ------
    UsageError
        If none of them exists.
    """
    roots, missing = [], []
    for path in dict.fromkeys(paths):
        if is_object(path) or os.path.exists(path):
            roots.append(path)
        else:
            reason = "is in the list but does not exist"
            missing.append(Skipped.of(show_path(path), reason, "not-found"))
    if not roots:
        entries = f"none of its {len(missing):,} entries exists" if missing else "it is empty"
        first = f" (the first is {missing[0].path})" if missing else ""
        raise UsageError(
            f"{name}: {entries}{first}. Paths in a list are relative to the folder of the list."
        )
    return Collection(name, CollectionKind.LIST, tuple(roots), missing=tuple(missing))


def _subset(text: str) -> Collection:
    where, _, selection = text.rpartition("@")
    selector, equals, value = selection.partition("=")
    selector = selector.strip().lower()
    name = show_path(text)
    if where and not (Path(where) / CATALOGUE_FILE).is_file():
        raise UsageError(
            f"{name}: {show_path(where)} is no workspace, and nothing of the whole name exists. "
            "Give a folder of music, a list, or a workspace."
        )
    if selection and (selector not in SELECTORS or not equals or not value.strip()):
        raise UsageError(
            f"{name}: {show_path(selection)!r} selects no tracks. Write @NAME=VALUE with a name "
            f"from {', '.join(SELECTORS)}."
        )
    return Collection(
        name,
        CollectionKind.SUBSET if selection else CollectionKind.WORKSPACE,
        workspace=Path(where) if where else None,
        selector=selector if selection else "",
        value=value.strip(),
    )


def take_collections(
    workspace: Workspace,
    collections: Sequence[Collection],
    *,
    fma: FmaMetadata | None = None,
    embedder: Embedder | None = None,
    on_event: OnEvent | None = None,
) -> list[TakenCollection]:
    """Bring the tracks of some collections into the catalogue, each file once.

    Parameters
    ----------
    workspace : Workspace
        Opened for writing.
    collections : sequence of Collection
    fma, embedder, on_event
        As for ``session.ingest``.

    Returns
    -------
    list of TakenCollection
        In the order of the collections.

    Raises
    ------
    UsageError
        If a collection holds no audio file, or nothing that a selector picks.
    CatalogueError
        If another workspace cannot be read, or has no embeddings of this extractor.
    """
    for collection in collections:
        if collection.roots and find_audio(collection.roots).is_without_audio():
            raise UsageError(
                f"{collection.name}: no audio file was found. Give a folder with mp3, flac, ogg, "
                "opus, m4a, wav or aiff files, or a list of them."
            )
    roots = list(dict.fromkeys(root for c in collections for root in c.roots))
    ingest(workspace, roots, fma=fma, embedder=embedder, on_event=on_event)
    others: dict[Path, dict[str, str]] = {}
    for collection in collections:
        other = collection.workspace
        if other is not None and not _is_own(workspace, other):
            copied = copy_tracks(workspace, other, partial(_picked, collection=collection))
            others.setdefault(other, {}).update(copied)
    return [_take(workspace, collection, others) for collection in collections]


def _is_own(workspace: Workspace, folder: Path) -> bool:
    return os.path.realpath(folder) == os.path.realpath(workspace.directory)


def _take(
    workspace: Workspace, collection: Collection, others: dict[Path, dict[str, str]]
) -> TakenCollection:
    if collection.roots:
        names = Below(collection.roots)
        stamps = workspace.catalogue.stamps()
        paths = {path: entry[0] for path, entry in stamps.items() if path in names}
        known = workspace.catalogue.skipped_stamps()
        shown = {show_path(path) for path in known if path in names}
        refused = [s for s in workspace.catalogue.skipped() if s.path in shown]
        skipped = {s.path: s for s in (*refused, *collection.missing)}
        kept = tuple(skipped[path] for path in sorted(skipped))
        return TakenCollection(collection, frozenset(paths.values()), kept, paths)
    own = collection.workspace is None or _is_own(workspace, collection.workspace)
    if own:
        wanted = {t.id for t in _picked(workspace.catalogue, collection)}
    else:
        assert collection.workspace is not None  # it is another one
        here = others[collection.workspace]
        with Catalogue.open(collection.workspace / CATALOGUE_FILE, read_only=True) as other:
            picked = _picked(other, collection)
        wanted = {here[track.id] for track in picked if track.id in here}
    if not wanted:
        raise UsageError(
            f"{collection.name} holds no tracks. "
            "Run: audit catalogue list --workspace DIR, to see what there is."
        )
    paths = {
        path: entry[0] for path, entry in workspace.catalogue.stamps().items() if entry[0] in wanted
    }
    return TakenCollection(collection, frozenset(wanted), (), paths)


def _picked(catalogue: Catalogue, collection: Collection) -> list[Track]:
    damaged: dict[str, str] = {}
    tracks = catalogue.tracks(present_only=True, damaged=damaged)
    selector, value = collection.selector, collection.value
    if not selector:
        return tracks
    if selector == "id":
        wanted = {part.strip() for part in value.split(",")}
        for track_id in sorted(wanted - {track.id for track in tracks}):
            catalogue.track(track_id)  # says which ids look alike
            raise UsageError(f"{collection.name}: the file of track {track_id} is missing.")
        return [track for track in tracks if track.id in wanted]
    if selector == "folder":
        names = Below([os.fsencode(value)])
        at = catalogue.paths()
        return [track for track in tracks if at.get(track.id, b"") in names]
    name = normalise_tag(value)

    def values(track: Track) -> Iterable[str]:
        return (*track.genres, track.genre) if selector == "genre" else (getattr(track, selector),)

    return [t for t in tracks if any(normalise_tag(given) == name for given in values(t))]


class Below:
    """Says of paths whether they are one of some paths, or lie below one.

    Parameters
    ----------
    roots : iterable of bytes
        Folders, files or URLs.

    Examples
    --------
    >>> b"/music/a/b.mp3" in Below([b"/music/a"]), b"/music/ab.mp3" in Below([b"/music/a"])
    (True, False)
    """

    def __init__(self, roots: Iterable[bytes]) -> None:
        self._roots = {_without_slash(real_path(root)) for root in roots}

    def __contains__(self, path: bytes) -> bool:
        while path:
            if path in self._roots:
                return True
            parent = path.rpartition(b"/")[0]
            if not parent:
                return b"/" in self._roots or b"" in self._roots
            path = parent
        return False


def _without_slash(path: bytes) -> bytes:
    return path if is_object(path) and path.endswith(b"://") else path.rstrip(b"/") or b"/"


def copy_tracks(
    workspace: Workspace, folder: Path, pick: Callable[[Catalogue], list[Track]]
) -> dict[str, str]:
    """Copy tracks of another workspace with their embeddings; return ids there to ids here.

    A track whose path and content are known here is not copied again.

    Parameters
    ----------
    workspace : Workspace
        Opened for writing.
    folder : pathlib.Path
        Of the other workspace.
    pick : callable
        The other catalogue to the tracks to copy.

    Raises
    ------
    CatalogueError
        If the other workspace cannot be read, or has no embeddings of this extractor.
    """
    weights_id, catalogue = workspace.weights_id, workspace.catalogue
    copied: dict[str, str] = {}
    with Catalogue.open(folder / CATALOGUE_FILE, read_only=True) as other:
        table = other.table(weights_id).by_id
        tracks = pick(other)
        stamps = {entry[0]: (path, entry[1], entry[2]) for path, entry in other.stamps().items()}
        if tracks and not any(track.id in table for track in tracks):
            raise CatalogueError(
                f"{show_path(folder)} holds no track embedded by {workspace.extractor.name} "
                f"({weights_id}). Run: audit scan --workspace {show_path(folder)}"
            )
        known = catalogue.stamps()
        missing = {track.id for track in catalogue.tracks(damaged={}) if track.missing}
        stored = catalogue.spectra()
        for track in tracks:
            if track.id not in stamps or track.id not in table:
                continue
            path, stamp, _ = stamps[track.id]
            here = known.get(path)
            if here is not None and catalogue.sha256_of(here[0]) == track.sha256:
                copied[track.id] = here[0]
                if weights_id in here[2]:
                    if here[0] in missing:
                        catalogue.mark_present([here[0]])
                    continue
            try:
                dvectors, levels = other.dvectors(track.id, weights_id)
                spectrum = None if track.sha256 in stored else other.spectrum(track.sha256)
            except DamagedTrackError:
                copied.pop(track.id, None)
                continue
            track_id = copied.get(track.id) or _free_id(catalogue, track)
            copied[track.id] = track_id
            catalogue.put(
                _renamed(track, track_id),
                path_bytes=path,
                stamp=stamp,
                embeddings={weights_id: TrackEmbedding(table[track.id], dvectors, levels)},
                spectrum=spectrum,
            )
            stored.add(track.sha256)
    return copied


def _free_id(catalogue: Catalogue, track: Track) -> str:
    """Return the id that a track has elsewhere, if it is free here, else a new one."""
    return catalogue.new_id(track.sha256) if catalogue.sha256_of(track.id) else track.id


def _renamed(track: Track, track_id: str) -> Track:
    return dataclasses.replace(track, id=track_id)
