"""Title, artist, album, genre, date, licence and identifiers out of a file's tags, by mutagen.

Tags come from strangers: whatever a file holds, the answer is clean short text or nothing, and
never an exception.
"""

from __future__ import annotations

import errno
import io
import itertools
import os
import re
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
    "record_label": (
        *("TPUB", "----:com.apple.iTunes:LABEL", "LABEL", "ORGANIZATION", "PUBLISHER"),
        "WM/Publisher",
    ),
}

# As MusicBrainz Picard writes them; what it calls the id of a track is that of the recording.
_IDENTIFIER_KEYS = {
    "isrc": ("TSRC", "----:com.apple.iTunes:ISRC", "ISRC", "WM/ISRC"),
    "mb-recording": (
        *("UFID:http://musicbrainz.org", "TXXX:MusicBrainz Recording Id"),
        *("----:com.apple.iTunes:MusicBrainz Track Id", "MUSICBRAINZ_TRACKID"),
        "MusicBrainz/Track Id",
    ),
    "acoustid": (
        *("TXXX:Acoustid Id", "----:com.apple.iTunes:Acoustid Id", "ACOUSTID_ID", "Acoustid/Id"),
    ),
    "iswc": ("TXXX:ISWC", "----:com.apple.iTunes:ISWC", "ISWC", "WM/ISWC"),
    "mb-release": (
        *("TXXX:MusicBrainz Album Id", "----:com.apple.iTunes:MusicBrainz Album Id"),
        *("MUSICBRAINZ_ALBUMID", "MusicBrainz/Album Id"),
    ),
}

_ISRC = re.compile("(?:ISRC)?([A-Z]{2}[A-Z0-9]{3}(?!0{7})[0-9]{7})")
_ISWC = re.compile("(?:ISWC)?(T[0-9]{10})")
_UUID = re.compile("(?!0{8})[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

MAX_IDENTIFIERS = 8
"""Of each scheme that are taken from a file."""

_MAX_VALUES, _MAX_VALUE = 64, 1000
"""Values of a field that are looked at for identifiers, and characters of each."""


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

    Every text is one printable line of at most ``errors.MAX_TEXT`` characters, and every identifier
    is a valid one of ``records.IDENTIFIERS``, as ``SCHEME:VALUE``.  ``c2pa`` is what
    ``auditor.audio.credentials`` reads; nothing here does.
    """

    title: str = ""
    artist: str = ""
    album: str = ""
    genre: str = ""
    date: str = ""
    licence: str = ""
    record_label: str = ""
    identifiers: tuple[str, ...] = ()
    c2pa: tuple[str, ...] = ()


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
    texts: dict[str, Any] = {field: _first(tags, keys) for field, keys in _KEYS.items()}
    return Tags(**texts, identifiers=_identifiers(tags))


def _first(tags: Any, keys: tuple[str, ...]) -> str:
    for key in keys:
        with suppress(Exception):  # absent, or a frame that cannot be read
            for value in _values(tags[key]):
                if text := clean_text(value):
                    return text
    return ""


def _identifiers(tags: Any) -> tuple[str, ...]:
    """Return the identifiers that tags hold, by scheme, each in its standard form and once."""
    found: list[str] = []
    for scheme, keys in _IDENTIFIER_KEYS.items():
        values: set[str] = set()
        for key in keys:
            with suppress(Exception):  # absent, or a frame that cannot be read
                for text in itertools.islice(_values(tags[key]), _MAX_VALUES):
                    parts = re.split(r"[\0;,/]", text[:_MAX_VALUE])
                    values.update(filter(None, (standard_form(scheme, part) for part in parts)))
        found += (f"{scheme}:{value}" for value in sorted(values)[:MAX_IDENTIFIERS])
    return tuple(found)


def standard_form(scheme: str, text: str) -> str:
    """Return an identifier in the one form in which it is compared; empty if it is none.

    Parameters
    ----------
    scheme : str
        One of ``records.IDENTIFIERS``.
    text : str
        As somebody wrote it.

    References
    ----------
    ISO 3901 (ISRC); ISO 15707 (ISWC), with its check digit; RFC 9562 (the UUIDs of the others).

    Examples
    --------
    >>> standard_form("isrc", "us-rc1-76-07839"), standard_form("isrc", "unknown")
    ('USRC17607839', '')
    >>> standard_form("iswc", "T-034.524.680-1"), standard_form("iswc", "T-034.524.680-2")
    ('T0345246801', '')
    """
    if scheme not in ("isrc", "iswc"):
        text = text.strip().lower()
        return text if _UUID.fullmatch(text) else ""
    plain = re.sub(r"[-.:\s]", "", text).upper()
    match = (_ISRC if scheme == "isrc" else _ISWC).fullmatch(plain)
    if match is None:
        return ""
    value = match[1]
    if scheme == "iswc":
        weighted = 1 + sum(place * int(digit) for place, digit in enumerate(value[1:-1], start=1))
        if (weighted + int(value[-1])) % 10:
            return ""
    return value


def _values(found: Any) -> Iterator[str]:
    """Yield the texts of an ID3 frame, a list of values, or one value."""
    if hasattr(found, "genres"):  # TCON, where "(17)" stands for Rock
        found = found.genres
    elif hasattr(found, "url"):
        found = found.url
    elif hasattr(found, "text"):
        found = found.text
    elif hasattr(found, "owner"):  # UFID
        found = found.data
    for value in found if isinstance(found, (list, tuple)) else [found]:
        yield value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
