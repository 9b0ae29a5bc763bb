"""Title, artist, album, genre, date and licence out of a file's tags, by mutagen.

Tags come from strangers: whatever a file holds, the answer is clean short text or nothing, and
never an exception.
"""

from __future__ import annotations

import errno
import io
import os
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from auditor.errors import clean_text

_KEYS = {
    # ID3 frames; atoms of MP4; Vorbis comments and APEv2, which ignore case; ASF
    "title": ("TIT2", "©nam", "TITLE", "Title"),
    "artist": ("TPE1", "©ART", "ARTIST", "TPE2", "aART", "ALBUMARTIST", "Author"),
    "album": ("TALB", "©alb", "ALBUM", "WM/AlbumTitle"),
    "genre": ("TCON", "©gen", "GENRE", "WM/Genre"),
    "date": ("TDRC", "TDRL", "TDOR", "©day", "DATE", "YEAR", "WM/Year"),
    "licence": (
        "WCOP",
        "TXXX:LICENSE",
        "TXXX:license",
        "TXXX:License",
        "----:com.apple.iTunes:LICENSE",
        "LICENSE",
        "LICENCE",
        "TCOP",
        "cprt",
        "©cpy",
        "COPYRIGHT",
        "Copyright",
    ),
}


_MAX_READ = 32 << 20
"""Bytes that are read of a file for its tags, pictures among them."""


_MAX_INFLATED = 1 << 20


class _BoundedZlib:
    """What mutagen uses of ``zlib``, with a limit on what is inflated."""

    error = zlib.error

    @staticmethod
    def decompress(data: bytes) -> bytes:
        """Inflate data that do not become too many."""
        inflater = zlib.decompressobj()
        inflated = inflater.decompress(data, _MAX_INFLATED)
        if inflater.unconsumed_tail:
            raise zlib.error("the frame inflates to more than a tag may hold")
        return inflated


class _Budgeted(io.FileIO):
    """A file of which only so much is read."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._left = _MAX_READ

    def read(self, size: int | None = -1, /) -> bytes:
        """Read what is asked for, unless it is too much in all."""
        if size is None or size < 0:
            size = max(0, os.fstat(self.fileno()).st_size - self.tell())
        self._left -= size
        if self._left < 0:
            raise OSError(errno.EFBIG, "the tags are too large to be read")
        return super().read(size) or b""


@dataclass(frozen=True)
class Tags:
    """What the tags of one file say; empty where they say nothing.

    Every value is one printable line of at most ``errors.MAX_TEXT`` characters.
    """

    title: str = ""
    artist: str = ""
    album: str = ""
    genre: str = ""
    date: str = ""
    licence: str = ""


def read_tags(path: str | os.PathLike[str] | bytes) -> Tags:
    """Read the tags of a file: of each field the first value that is not empty.

    ID3v1 and ID3v2 (also inside WAV and AIFF), Vorbis comments, MP4 atoms, APEv2 and ASF are known.
    A licence is taken from a licence field where there is one, and else from the copyright line.

    Parameters
    ----------
    path : path
        A file that was found to be audio.

    Returns
    -------
    Tags
        Empty if mutagen does not know the file, or fails on it.
    """
    import mutagen  # most processes read no tags
    import mutagen.id3._frames as id3_frames

    # ID3 frames may be compressed, and mutagen inflates them whatever becomes of them.
    setattr(id3_frames, "zlib", _BoundedZlib)  # noqa: B010
    tags = None
    with suppress(Exception), _Budgeted(os.fsdecode(path)) as file:
        # A parser of strangers' bytes: any failure means no tags.
        tags = getattr(mutagen.File(file), "tags", None)
    if tags is None:
        return Tags()
    return Tags(**{field: _first(tags, keys) for field, keys in _KEYS.items()})


def _first(tags: Any, keys: tuple[str, ...]) -> str:
    for key in keys:
        with suppress(Exception):  # absent, or a frame that cannot be read
            for value in _values(tags[key]):
                if text := clean_text(value):
                    return text
    return ""


def _values(found: Any) -> Iterator[str]:
    """Yield the texts of an ID3 frame, a list of values, or one value."""
    if hasattr(found, "genres"):  # TCON, where "(17)" stands for Rock
        found = found.genres
    elif hasattr(found, "url"):
        found = found.url
    elif hasattr(found, "text"):
        found = found.text
    for value in found if isinstance(found, (list, tuple)) else [found]:
        yield value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
