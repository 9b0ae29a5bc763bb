"""Find the audio files below folders, and the objects below URLs of object stores.

Hidden files and folders are left out, links are followed but no folder is entered twice (so a loop
of links ends), and what cannot be read is reported instead of passed over in silence.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field

from auditor.audio.container import open_audio_file
from auditor.audio.formats import (
    NOT_READ,
    SUFFIXES,
    TRANSPORT_PACKET,
    TRANSPORT_SUFFIX,
    is_transport_stream,
)
from auditor.audio.object_store import (
    exists,
    fetched,
    is_object,
    list_objects,
    look_up,
    read_start,
)
from auditor.errors import AudioError, UsageError, show_path
from auditor.records import Skipped

_MAX_INODE = 2**63 - 1
"""What SQLite holds; some file systems have numbers of all 64 bits."""


@dataclass(frozen=True)
class FoundFile:
    """An audio file: absolute path as bytes, size in bytes, time of change in nanoseconds.

    Of an object: its URL, size, and stamp (``objects.StoredObject``).  ``ctime_ns`` and ``inode``
    are what the file system says beside, which nobody can set as one can set the time of change;
    None of an object.  ``sha256`` is its hash where it was read already, else empty.
    """

    path: bytes
    size: int
    mtime_ns: int
    ctime_ns: int | None = None
    inode: int | None = None
    sha256: str = field(default="", compare=False)

    @classmethod
    def of(cls, path: bytes, status: os.stat_result) -> FoundFile:
        """Return the file that was found in this state."""
        inode = status.st_ino & _MAX_INODE
        return cls(path, status.st_size, status.st_mtime_ns, status.st_ctime_ns, inode)


@dataclass(frozen=True)
class Walk:
    """What lies below some folders: files sorted by path, and what could not be read.

    ``stores`` are the URLs of the objects that were looked for, and, with a slash at their ends,
    those below which every object was listed.
    """

    files: tuple[FoundFile, ...]
    unreadable: tuple[Skipped, ...]
    stores: frozenset[bytes] = frozenset()

    @property
    def not_read(self) -> tuple[Skipped, ...]:
        """The part of ``unreadable`` that is music of formats that are not read."""
        return tuple(skipped for skipped in self.unreadable if skipped.code == "not-read")

    def is_without_audio(self) -> bool:
        """Say whether there is nothing that is audio by its name, or by what it is."""
        return not self.files and len(self.unreadable) == len(self.not_read)

    def tell_not_read(self) -> str:
        """Return a sentence on the files whose format is not read, after a space, or ""."""
        if not self.not_read:
            return ""
        n = len(self.not_read)
        named = [f"{skipped.path} {skipped.reason}" for skipped in self.not_read[:3]]
        more = "; …" if n > len(named) else ""
        return f" {n:,} {'file is' if n == 1 else 'files are'} not read: {'; '.join(named)}{more}."

    def has_listed(self, url: bytes) -> bool:
        """Say whether an object, were it there, would be among the files.

        One that was given by name once may be hidden, or have no extension of audio.
        """
        if url in self.stores or not _is_audio(url):
            return url in self.stores
        parts = url.split(b"/")
        folders = (b"/".join([*parts[:n], b""]) for n in range(1, len(parts)))
        below = (url.removeprefix(folder) for folder in folders if folder in self.stores)
        return any(b"/." not in b"/" + name for name in below)


def find_audio(roots: Iterable[str | bytes | os.PathLike[str]]) -> Walk:
    """Find every audio file below the given folders and URLs, or given by name.

    Parameters
    ----------
    roots : iterable of paths
        Folders are walked; a file is taken whatever its extension.  Links in a root itself are
        resolved, so that one folder by two names is one folder.

    Returns
    -------
    Walk
        A file reached by two paths is listed once: under the one that is no link, else under the
        first in sorted order.

    Raises
    ------
    UsageError
        If a root does not exist, or the store of an object cannot be asked: what it holds is not
        known then, and none of it is to be taken for gone.
    """
    encoded = [os.fsencode(root) for root in roots]
    local = _find_files(root for root in encoded if not is_object(root))
    listed = [_find_objects(root) for root in encoded if is_object(root)]
    walks = [local, *listed]
    files = {found.path: found for walk in walks for found in walk.files}
    unreadable = {skipped for walk in walks for skipped in walk.unreadable}
    return Walk(
        tuple(sorted(files.values(), key=lambda f: f.path)),
        tuple(sorted(unreadable, key=lambda s: s.path)),
        frozenset(store for walk in listed for store in walk.stores),
    )


def require_present(roots: Iterable[str | bytes | os.PathLike[str]]) -> None:
    """Raise UsageError if a folder or file does not exist; URLs are passed over."""
    for root in map(os.fsencode, roots):
        if not is_object(root):
            with contextlib.suppress(OSError):  # told when it is read
                _status_of(os.path.realpath(root))


def _status_of(root: bytes) -> os.stat_result:
    """Return the status of a root; UsageError if it does not exist."""
    try:
        return os.stat(root)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(
            f"{show_path(root)} does not exist. Give a folder of music or an audio file."
        ) from None


def _find_objects(root: bytes) -> Walk:
    """Return the audio below a URL; an object given by name is taken whatever its extension."""
    shown = show_path(root)
    try:
        listing = list_objects(root)
    except FileNotFoundError:
        raise UsageError(
            f"{shown} does not exist. Give the URL of music in an object store."
        ) from None
    except OSError as error:
        raise UsageError(
            f"{shown} cannot be listed: {error.strerror}. Check its name, the credentials in the "
            "environment and the network, and run the command again; nothing was changed."
        ) from None
    files = [FoundFile(*one) for one in listing.objects]
    by_name = [file.path for file in files] == [listing.root]
    refused = (Skipped(show_path(url), why) for url, why in listing.refused.items())
    unreadable = [skipped for skipped in refused if _is_audio(os.fsencode(skipped.path))]
    taken = []
    for file in files:
        if by_name:
            taken.append(file)
        elif _is_not_read(file.path):
            unreadable.append(_not_read(file.path))
        elif _is_audio(file.path):
            try:
                if not _is_other(file.path):
                    taken.append(file)
            except OSError as error:
                unreadable.append(cannot_be_read(file.path, error))
    stores = frozenset([listing.root if by_name else listing.root + b"/"])
    return Walk(tuple(taken), tuple(unreadable), stores)


def cannot_be_read(path: bytes, error: OSError, sha256: str = "") -> Skipped:
    """Return a file or folder that the system, or its store, does not let us read."""
    code = "io-error"
    if isinstance(error, PermissionError):
        code = "denied"
    elif isinstance(error, FileNotFoundError):
        code = "not-found"
    return Skipped.of(show_path(path), f"cannot be read: {error.strerror}", code, sha256)


def _suffix(name: bytes) -> str:
    return os.path.splitext(name)[1].lower().decode("ascii", "replace")


def _is_audio(name: bytes) -> bool:
    """Say whether a name is one of audio; of MPEG-TS, the content decides (``_is_other``)."""
    return _suffix(name) in SUFFIXES or _suffix(name) == TRANSPORT_SUFFIX


def _is_not_read(name: bytes) -> bool:
    """Say whether a name is one of music in a format that is not read."""
    return _suffix(name) in NOT_READ


def _not_read(path: bytes) -> Skipped:
    """Return a file of such a name, with why it is not read."""
    return Skipped.of(show_path(path), NOT_READ[_suffix(path)], "not-read")


def _is_other(path: bytes) -> bool:
    """Say whether a regular file or an object of an ambiguous name is no audio.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    if _suffix(path) != TRANSPORT_SUFFIX:
        return False
    if is_object(path):
        return not is_transport_stream(read_start(path, TRANSPORT_PACKET + 1))
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        return not is_transport_stream(file.read(TRANSPORT_PACKET + 1))


def _find_files(roots: Iterable[bytes]) -> Walk:
    """Return the audio files below folders, or given by name.

    A file reached by two paths is listed once.
    """
    # Real path to (is a link, path as found): hard links are files of their own, and a file that
    # links lead to as well is listed under its own path.
    found: dict[bytes, tuple[bool, bytes, os.stat_result]] = {}
    not_read: dict[bytes, tuple[bool, bytes]] = {}
    unreadable: list[Skipped] = []
    seen_folders: set[tuple[int, int]] = set()

    def take(path: bytes, status: os.stat_result) -> None:
        real, entry = os.path.realpath(path), (os.path.islink(path), path, status)
        if real not in found or entry[:2] < found[real][:2]:
            found[real] = entry

    stack: list[bytes] = []
    for root in sorted(os.path.realpath(root) for root in roots):
        try:
            status = _status_of(root)
        except OSError as error:
            unreadable.append(cannot_be_read(root, error))
            continue
        if stat.S_ISDIR(status.st_mode):
            stack.append(root)
        elif stat.S_ISREG(status.st_mode):
            take(root, status)
        else:
            reason = "is not a regular file. Give a folder of music or an audio file."
            unreadable.append(Skipped.of(show_path(root), reason, "not-a-file"))
    stack.reverse()
    while stack:
        folder = stack.pop()
        try:
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in seen_folders:
                continue
            seen_folders.add((status.st_dev, status.st_ino))
            names = sorted(os.listdir(folder))
        except OSError as error:
            unreadable.append(cannot_be_read(folder, error))
            continue
        folders = []
        for name in names:
            if name.startswith(b"."):
                continue
            path = os.path.join(folder, name)
            is_audio = _is_audio(name)
            try:
                status = os.stat(path)
            except OSError as error:
                if is_audio:
                    unreadable.append(cannot_be_read(path, error))
                continue
            if stat.S_ISDIR(status.st_mode):
                folders.append(path)
            elif not stat.S_ISREG(status.st_mode):
                continue
            elif _is_not_read(name):
                entry = os.path.islink(path), path
                real = os.path.realpath(path)
                not_read[real] = min(entry, not_read.get(real, entry))
            elif is_audio:
                try:
                    if not _is_other(path):
                        take(path, status)
                except OSError as error:
                    unreadable.append(cannot_be_read(path, error))
        stack += reversed(folders)
    files = (FoundFile.of(path, status) for _, path, status in found.values())
    named = (
        _not_read(path)
        for real, (_, path) in not_read.items()
        if real not in found  # given by name
    )
    return Walk(tuple(files), (*unreadable, *named))


def look_at(path: bytes) -> FoundFile:
    """Return a file or object as it is now.

    Raises
    ------
    OSError
        If it is gone or cannot be asked for.
    UsageError
        If the driver of its store is not installed.
    """
    if is_object(path):
        return FoundFile(*look_up(path))
    return FoundFile.of(path, os.stat(path))


def is_there(path: str | bytes | os.PathLike[str]) -> bool:
    """Say whether there is a file, folder or object of a path.

    Raises
    ------
    OSError, UsageError
        If the store of an object cannot be asked.
    """
    return exists(os.fsencode(path)) if is_object(path) else os.path.exists(path)


def real_path(path: str | bytes | os.PathLike[str]) -> bytes:
    """Return the path that a file has without links, or the URL of an object as it is."""
    path = os.fsencode(path)
    return path if is_object(path) else os.path.realpath(path)


def hash_file(path: str | bytes | os.PathLike[str], *, n_bytes: int | None = None) -> str:
    """Return the SHA-256 of a regular file or of an object, 64 hex digits.

    Nothing else is waited for.

    Parameters
    ----------
    path : path
    n_bytes : int, optional
        Hash no more than so many from its start.

    Raises
    ------
    OSError
        If it is gone or cannot be read.
    AudioError
        If it is empty, a folder, a pipe or a device.
    UsageError
        If the driver of its store is not installed.
    """
    with fetched(path) as there:
        try:
            file = open_audio_file(there)
        except AudioError as error:
            # What may be mended without a trace in size and time is told from what may not.
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise
        with file:
            if n_bytes is not None:
                return hashlib.sha256(file.read(n_bytes)).hexdigest()
            return hashlib.file_digest(file, "sha256").hexdigest()
