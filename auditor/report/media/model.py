"""What is heard and seen beside a result's numbers: clips, waveforms, matrices.

Kept as JSON beside the result, so that a report can be rendered again, byte for byte, when the
audio is no longer at hand.  ``auditor.report.media.build`` makes it; reports show it.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from auditor.errors import ResultError
from auditor.serialisation import from_json, parse_json

FORMAT = "audit-media/2"
MAX_PEAK = 100
_MIME = re.compile(r"audio/(ogg|mp4)(; ?codecs=[a-z0-9.]{1,16})?")
_LINK = re.compile(r"(?![a-zA-Z][a-zA-Z0-9+.-]*:)(?!//)[^\x00-\x20\"'<>\\]*")


def _check_base64(text: str, what: str) -> None:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"{what} is not base64") from None


@dataclass(frozen=True)
class Clip:
    """A few seconds of one track, from where a matched range of a pair begins.

    Attributes
    ----------
    range : int
        Place of the range in the pair's evidence.
    side : "a" or "b"
    start_s, end_s : float
        Where the clip lies in its track.
    mime : str
        Such as ``audio/ogg; codecs=opus``.
    audio : str
        The encoded file, base64.
    """

    range: int
    side: str
    start_s: float
    end_s: float
    mime: str
    audio: str

    def __post_init__(self) -> None:
        if self.side not in ("a", "b") or self.range < 0:
            raise ValueError(f"the clip is of side {self.side!r:.10} and range {self.range}")
        if not 0.0 <= self.start_s < self.end_s:
            raise ValueError(f"a clip lies from {self.start_s} to {self.end_s} s")
        if not _MIME.fullmatch(self.mime):
            raise ValueError(f"the mime type is {self.mime!r:.60}; Ogg or MP4 audio is read")
        _check_base64(self.audio, "the audio of a clip")


@dataclass(frozen=True)
class PairMedia:
    """Clips of a pair, and its similarity matrix.

    Attributes
    ----------
    a, b : str
        Ids of its tracks, in the order of the pair: files of the same bytes have media of their
        own, for they may stand in another order.
    clips : tuple of Clip
        By range, a before b.
    matrix : str
        PNG, base64: time of a downwards from 0 to ``matrix_a_s``, time of b rightwards from 0 to
        ``matrix_b_s``, the more alike the darker; empty where there is none.
    matrix_a_s, matrix_b_s : float
        Seconds.
    lacking : str
        Which clips are lacking, and why, as one sentence; empty if none is.
    """

    a: str
    b: str
    clips: tuple[Clip, ...] = ()
    matrix: str = ""
    matrix_a_s: float = 0.0
    matrix_b_s: float = 0.0
    lacking: str = ""

    def __post_init__(self) -> None:
        _check_base64(self.matrix, "the matrix of a pair")
        if self.matrix and not (self.matrix_a_s > 0.0 and self.matrix_b_s > 0.0):
            raise ValueError(f"a matrix spans {self.matrix_a_s} by {self.matrix_b_s} s")


@dataclass(frozen=True)
class TrackMedia:
    """The waveform of a track, and where its file lies.

    Attributes
    ----------
    id : str
    peaks : tuple of int
        Highest level of equal stretches of the whole track, 0 to ``MAX_PEAK``; empty if unknown.
    link : str
        Relative URL from the report's folder to the file; empty where none is given.
    """

    id: str
    peaks: tuple[int, ...] = ()
    link: str = ""

    def __post_init__(self) -> None:
        if any(not 0 <= peak <= MAX_PEAK for peak in self.peaks):
            raise ValueError(f"a peak lies outside 0 to {MAX_PEAK}")
        if not _LINK.fullmatch(self.link):
            raise ValueError(f"the link is {self.link!r:.80}; a quoted, relative URL is needed")


@dataclass(frozen=True)
class Media:
    """All media of a result.

    Attributes
    ----------
    tracks : tuple of TrackMedia
    pairs : tuple of PairMedia
    notes : tuple of str
        What was left out, and why.
    compositions : tuple of PairMedia
        Clips of the passages of compositions; two tracks may have media as recordings, too.
    """

    tracks: tuple[TrackMedia, ...] = ()
    pairs: tuple[PairMedia, ...] = ()
    notes: tuple[str, ...] = ()
    format: str = FORMAT
    compositions: tuple[PairMedia, ...] = ()

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise ValueError(f"format is {self.format!r:.60}; {FORMAT!r} is read")

    def by_track(self) -> Mapping[str, TrackMedia]:
        """Return the tracks by their ids."""
        return {track.id: track for track in self.tracks}

    def without_links(self) -> Media:
        """Return these media without links to files, which spell out the folders to them."""
        return replace(self, tracks=tuple(replace(track, link="") for track in self.tracks))

    def by_pair(self) -> Mapping[tuple[str, str], PairMedia]:
        """Return the pairs by the ids of both tracks."""
        return {(pair.a, pair.b): pair for pair in self.pairs}


def media_to_json(media: Media) -> str:
    """Return media as JSON text, the same bytes for the same media."""
    return json.dumps(asdict(media), ensure_ascii=False, allow_nan=False, indent=1)


def media_from_json(text: str) -> Media:
    """Read media back.

    Raises
    ------
    ResultError
        If the text is not JSON or does not follow the format.
    """
    try:
        return from_json(Media, parse_json(text), where="media")
    except (ValueError, RecursionError) as error:
        raise ResultError(
            f"the media are not what audit wrote: {error}. Remove the file, and the report comes "
            "without sound."
        ) from None
