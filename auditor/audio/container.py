"""Opening audio files safely, and what their headers say that FFmpeg does not pass on.

Files come from strangers.  They are opened by Python and handed over as file objects, with an
allow-list of containers and no protocol at all, so that neither a file's name (``concat:a|b``) nor
its content (a play list) can make FFmpeg open anything else.

A truncated file often decodes in part without any error, and FFmpeg fits the declared duration of
some formats to the bytes it found.  The three header readers here restore what was promised:
RFC 3533 (Ogg pages), the RIFF/WAVE chunk list, and the Xing, Info or VBRI header of MP3.  Each
reads a few kilobytes, allocates nothing that a header asks for, and leaves the file at its start.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from typing import TYPE_CHECKING

from auditor.audio.formats import DEMUXER_OF_SUFFIX, DEMUXERS
from auditor.errors import AudioError, show_path

if TYPE_CHECKING:
    import av

_MAX_CHUNKS = 1000
_MAX_HEADER = 1 << 24
_MAX_PAGES = 1 << 20
"""Ogg pages looked at for a change of streams: days of music."""

_PROBE_BYTES = 5_000_000
_PROBE_US = 5_000_000
"""FFmpeg reads no more, and no more microseconds of sound, to find out what a file holds."""

MAX_STREAMS = 64
"""Streams of a file, pictures and subtitles too; with more it is refused."""


class FilePart:
    """A part of an open file, as a file of its own.

    Parameters
    ----------
    file : io.FileIO or io.BytesIO
        Closed by whoever opened it.
    start, end : int
        In bytes.
    """

    name = "audio"

    def __init__(self, file: io.FileIO | io.BytesIO, start: int, end: int) -> None:
        self._file, self._start, self._size = file, start, max(0, end - start)
        self._at = 0

    def read(self, size: int = -1) -> bytes:
        """Return at most so many bytes from where it stands, all that is left by default."""
        left = max(0, self._size - self._at)
        size = left if size < 0 else min(size, left)
        self._file.seek(self._start + self._at)
        data = self._file.read(size) or b""
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place; return it."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        """Return where it stands."""
        return self._at


BinaryFile = io.FileIO | io.BytesIO | FilePart
"""What FFmpeg is given to read from."""


def open_audio_file(path: str | bytes | os.PathLike[str]) -> io.FileIO:
    """Open a regular, non-empty file for reading, whatever bytes its name holds.

    Raises
    ------
    AudioError
        If it is missing, unreadable, empty, a folder, a pipe or a device.
    """
    name = show_path(path)
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        file = io.FileIO(os.open(path, flags))
    except FileNotFoundError:
        raise AudioError(
            f"{name}: no such file. Check the path.",
            code="not-found",
        ) from None
    except PermissionError:
        raise AudioError(
            f"{name}: permission denied. Make it readable: chmod +r.", code="denied"
        ) from None
    except IsADirectoryError:
        raise AudioError(f"{name}: is a folder. Give a file.", code="not-a-file") from None
    except OSError as error:
        raise AudioError(
            f"{name}: cannot be opened: {error.strerror}. Check the path.", code="io-error"
        ) from None
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        file.close()
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise AudioError(f"{name}: is {kind}. Give a file.", code="not-a-file")
    if status.st_size == 0:
        file.close()
        raise AudioError(f"{name}: is empty (0 bytes). Give an intact file.", code="empty")
    return file


def music_parts(file: io.FileIO | io.BytesIO) -> list[FilePart]:
    """Return where the music of a file lies: nearly always one part, behind any ID3v2 tags.

    FFmpeg would read a whole tag into memory, and knows it in front of few formats only.  An Ogg
    file whose streams change on the way (RFC 3533 calls it chained) has a part for each kind.
    """
    size = file.seek(0, os.SEEK_END)
    start = 0
    while True:
        file.seek(start)
        head = file.read(10) or b""
        if len(head) < 10 or head[:3] != b"ID3" or max(head[6:10]) >= 0x80:
            break
        length = sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
        end = start + 10 + length + (10 if head[5] & 0x10 else 0)
        if end >= size:
            break
        start = end
    file.seek(start)
    starts = _ogg_links(file, start, size) if file.read(4) == b"OggS" else [start]
    file.seek(0)
    return [FilePart(file, a, b) for a, b in zip(starts, [*starts[1:], size], strict=True)]


def _ogg_links(file: io.FileIO | io.BytesIO, start: int, size: int) -> list[int]:
    """Return where an Ogg file begins, and where other kinds of streams begin in it."""
    links = [start]
    kinds: list[bytes] = []  # of the streams that begin where the last link does
    begun: list[bytes] = []
    at = start
    for _ in range(_MAX_PAGES):
        file.seek(at)
        page = file.read(27 + 255 + 16) or b""
        if len(page) < 28 or page[:4] != b"OggS":
            break
        body = 27 + page[26]
        if page[5] & 2:  # begins a stream
            if not begun:
                link = at
            begun.append(page[body : body + 16])  # its codec, rate and channels
        elif begun:
            if kinds and begun != kinds:
                links.append(link)
            kinds, begun = begun, []
        at += body + sum(page[27:body])
        if at >= size:
            break
    return links


def open_container(file: BinaryFile, suffix: str, name: str) -> av.container.InputContainer:
    """Let FFmpeg find out what a file holds.

    Parameters
    ----------
    file : file
        Where the bytes come from.
    suffix : str
        Extension of the file, lower-case with its dot; raw formats are told by it.
    name : str
        For messages.

    Raises
    ------
    AudioError
        If the file is in none of the audio containers that are allowed.
    """
    import av  # a tenth of a second; processes that only open files need none of it

    # FFmpeg sees this name only: enough to tell formats by extension, never a path or a protocol.
    file.name = f"audio{suffix}" if suffix[1:].isalnum() else "audio"
    try:
        return av.open(
            file,
            "r",
            format=DEMUXER_OF_SUFFIX.get(suffix),
            metadata_errors="replace",
            container_options={
                "format_whitelist": DEMUXERS,
                "protocol_whitelist": "none",
                "max_streams": str(MAX_STREAMS),
                "probesize": str(_PROBE_BYTES),
                "analyzeduration": str(_PROBE_US),
            },
            buffer_size=1 << 16,
            io_open=_refuse_other_files,
        )
    except (av.FFmpegError, OSError, ValueError) as error:
        if getattr(error, "errno", None) == errno.ENOMEM:
            raise AudioError(
                f"{name}: has more than {MAX_STREAMS} streams, or its header takes more memory "
                "than a file may take. Convert it to FLAC or MP3.",
                code="too-large",
            ) from None
        raise AudioError(
            f"{name}: is not audio that FFmpeg can read. Give an intact audio file."
        ) from None


def is_encrypted(part: FilePart) -> bool:
    """Say whether the header of an MP4 file declares its sound encrypted (ISO/IEC 23001-7)."""
    at, size = 0, part.seek(0, os.SEEK_END)
    for _ in range(_MAX_CHUNKS):
        part.seek(at)
        head = part.read(16)
        if len(head) < 8:
            return False
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if head[4:8] == b"moov":
            return b"enca" in part.read(min(length, size, _MAX_HEADER))
        if length < 8:
            return False
        at += length
    return False


def _refuse_other_files(url: str, flags: int, options: dict[str, str]) -> object:
    raise PermissionError(errno.EPERM, "an audio file may not open other files")


def ends_inside_ogg_page(file: BinaryFile) -> bool:
    """Tell whether the last page of an Ogg file stops before the length that it states."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if file.read(4) != b"OggS":
        file.seek(0)
        return False
    offset = max(0, size - 70_000)  # a page has at most 65,307 bytes
    file.seek(offset)
    tail = file.read()
    file.seek(0)
    start = tail.rfind(b"OggS")
    if start < 0:
        return False
    page = tail[start:]
    if len(page) < 27 or len(page) < 27 + page[26]:
        return True
    return len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]])


def mp3_declared_s(file: BinaryFile) -> float | None:
    """Return the length that an MP3 file's Xing, Info or VBRI header states, None without one.

    FFmpeg drops that length, and guesses one from the bit rate, when junk follows the audio.
    """
    file.seek(0)
    head = file.read(10)
    start = 0
    if len(head) == 10 and head[:3] == b"ID3":
        size = zip(head[6:10], (21, 14, 7, 0), strict=True)
        start = 10 + sum((byte & 0x7F) << shift for byte, shift in size)
    file.seek(start)
    frame = file.read(4096)
    file.seek(0)
    found = [frame.find(tag) for tag in (b"Xing", b"Info", b"VBRI")]
    at = min((position for position in found if position >= 0), default=-1)
    for offset in (36, 21, 13):  # header and side information: MPEG-1, both mono or MPEG-2, neither
        header = frame[at - offset : at - offset + 4] if at >= offset else b""
        if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
            continue
        version, rate = header[1] >> 3 & 3, header[2] >> 2 & 3
        if rate == 3 or version == 1:
            continue
        rate_hz = (44_100, 48_000, 32_000)[rate] >> {3: 0, 2: 1, 0: 2}[version]
        tag = frame[at : at + 144].ljust(144, b"\0")
        vbri = tag.startswith(b"VBRI")
        if not vbri and not tag[7] & 1:
            return None
        n_frames = int.from_bytes(tag[14:18] if vbri else tag[8:12], "big")
        n_samples = n_frames * (1152 if version == 3 else 576)
        if tag[120:121] == b"L":  # LAME, Lavf, Lavc: encoder delay and padding, 12 bits each
            n_samples -= (tag[141] << 4 | tag[142] >> 4) + ((tag[142] & 15) << 8 | tag[143])
        return n_samples / rate_hz if n_samples > 0 else None
    return None


def wav_promise(file: BinaryFile) -> float:
    """Return how many times more samples a RIFF/WAVE header promises than the file can hold.

    FFmpeg shortens the declared duration to the size of the file, which hides that it was cut.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(12)
    promise = 1.0
    if head[:4] == b"RIFF" and head[8:] == b"WAVE":
        for _ in range(_MAX_CHUNKS):
            chunk = file.read(8)
            length = int.from_bytes(chunk[4:], "little")
            held = size - file.tell()
            if len(chunk) < 8:
                break
            if chunk[:4] == b"data":
                # Writers that cannot seek back leave 0, or a length near 2 or 4 GiB.
                if 0 < held < length < 0x7FFF_0000:
                    promise = length / held
                break
            file.seek(length + length % 2, os.SEEK_CUR)
    file.seek(0)
    return promise
