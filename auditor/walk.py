"""Find the audio files below folders.

Hidden files and folders are left out, links are followed but no folder is entered twice (so a loop
of links ends), and what cannot be read is reported instead of passed over in silence.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass

from auditor.audio import SUFFIXES
from auditor.audio_file import open_audio_file
from auditor.errors import AudioError, UsageError, show_path
from auditor.records import Skipped


@dataclass(frozen=True)
class FoundFile:
    """An audio file: absolute path as bytes, size in bytes, time of change in nanoseconds."""

    path: bytes
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class Walk:
    """What lies below some folders: files sorted by path, and what could not be read."""

    files: tuple[FoundFile, ...]
    unreadable: tuple[Skipped, ...]


def find_audio(roots: Iterable[str | bytes | os.PathLike[str]]) -> Walk:
    """Find every audio file below the given folders, or given by name.

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
        If a root does not exist.
    """
    # Real path to (is a link, path as found): hard links are files of their own, and a file that
    # links lead to as well is listed under its own path.
    found: dict[bytes, tuple[bool, bytes, os.stat_result]] = {}
    unreadable: list[Skipped] = []
    seen_folders: set[tuple[int, int]] = set()

    def take(path: bytes, status: os.stat_result) -> None:
        real, entry = os.path.realpath(path), (os.path.islink(path), path, status)
        if real not in found or entry[:2] < found[real][:2]:
            found[real] = entry

    stack: list[bytes] = []
    for root in sorted(os.path.realpath(os.fsencode(root)) for root in roots):
        try:
            status = os.stat(root)
        except (FileNotFoundError, NotADirectoryError):
            raise UsageError(
                f"{show_path(root)} does not exist. Give a folder of music or an audio file."
            ) from None
        except OSError as error:
            unreadable.append(Skipped(show_path(root), f"cannot be read: {error.strerror}"))
            continue
        if stat.S_ISDIR(status.st_mode):
            stack.append(root)
        elif stat.S_ISREG(status.st_mode):
            take(root, status)
        else:
            reason = "is not a regular file. Give a folder of music or an audio file."
            unreadable.append(Skipped(show_path(root), reason))
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
            unreadable.append(Skipped(show_path(folder), f"cannot be read: {error.strerror}"))
            continue
        folders = []
        for name in names:
            if name.startswith(b"."):
                continue
            path = os.path.join(folder, name)
            is_audio = os.path.splitext(name)[1].lower().decode("ascii", "replace") in SUFFIXES
            try:
                status = os.stat(path)
            except OSError as error:
                if is_audio:
                    unreadable.append(Skipped(show_path(path), f"cannot be read: {error.strerror}"))
                continue
            if stat.S_ISDIR(status.st_mode):
                folders.append(path)
            elif is_audio and stat.S_ISREG(status.st_mode):
                take(path, status)
        stack += reversed(folders)
    files = (FoundFile(path, s.st_size, s.st_mtime_ns) for _, path, s in found.values())
    return Walk(
        tuple(sorted(files, key=lambda f: f.path)), tuple(sorted(unreadable, key=lambda s: s.path))
    )


def hash_file(path: str | bytes | os.PathLike[str]) -> str:
    """Return the SHA-256 of a regular file, 64 hex digits; nothing else is waited for.

    Raises
    ------
    OSError
        If it is gone or cannot be read.
    AudioError
        If it is empty, a folder, a pipe or a device.
    """
    try:
        file = open_audio_file(path)
    except AudioError as error:
        # What may be mended without a trace in size and time is told from what may not.
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise
    with file:
        return hashlib.file_digest(file, "sha256").hexdigest()
