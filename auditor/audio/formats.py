"""The audio formats that are read: what a new one needs is added here."""

from __future__ import annotations

# fmt: off
SUFFIXES = frozenset({
    ".3g2", ".3gp", ".aac", ".ac3", ".aif", ".aifc", ".aiff", ".amr", ".ape", ".au", ".avi", ".caf",
    ".dff", ".dsf", ".dts", ".dtshd", ".eac3", ".ec3", ".flac", ".flv", ".g722", ".gsm", ".m2ts",
    ".m4a", ".m4b", ".m4v", ".mka", ".mkv", ".mlp", ".mov", ".mp1", ".mp2", ".mp3", ".mp4", ".mpc",
    ".mts", ".oga", ".ogg", ".ogv", ".oma", ".opus", ".shn", ".snd", ".spx", ".tak", ".thd", ".tta",
    ".voc", ".w64", ".wav", ".wave", ".webm", ".wma", ".wmv", ".wv",
})
# fmt: on
"""Lower-case file extensions that are taken for audio when folders are walked."""

TRANSPORT_SUFFIX = ".ts"
"""MPEG-TS, and TypeScript: such files are audio if ``is_transport_stream`` says so."""

TRANSPORT_PACKET = 188
"""Bytes of a packet of MPEG-TS."""

_ENCRYPTED = "is encrypted by its shop"
_NOTES = "holds notes, not sound: render it first"
_RARE = "is in a format that is not read: convert it to FLAC or MP3"

NOT_READ = {
    ".aa": _ENCRYPTED,
    ".aax": _ENCRYPTED,
    ".aaxc": _ENCRYPTED,
    ".m4p": _ENCRYPTED,
    ".it": _NOTES,
    ".kar": _NOTES,
    ".mid": _NOTES,
    ".midi": _NOTES,
    ".mod": _NOTES,
    ".s3m": _NOTES,
    ".sid": _NOTES,
    ".xm": _NOTES,
    ".adx": _RARE,
    ".at3": _RARE,
    ".la": _RARE,
    ".m3u8": "is a play list: give the files that it names",
    ".ofr": _RARE,
    ".ra": _RARE,
    ".ram": _RARE,
    ".rm": _RARE,
    ".vqf": _RARE,
}
"""Extensions of music that is not read, and why: such files are named, not passed over."""


def is_transport_stream(start: bytes) -> bool:
    """Say whether a file that begins so is MPEG-TS: two packets begin with their mark.

    Examples
    --------
    >>> is_transport_stream(b"G" + bytes(187) + b"G"), is_transport_stream(b"G" * 188)
    (True, False)
    """
    return start[:1] == start[TRANSPORT_PACKET : TRANSPORT_PACKET + 1] == b"\x47"


DEMUXERS = (
    "mp3,ogg,flac,mov,mp4,m4a,3gp,3g2,mj2,aac,wav,w64,aiff,caf,matroska,webm,asf,au,ape,wv,tta,"
    "mpc,mpc8,ac3,eac3,dts,dtshd,mlp,truehd,amr,avi,flv,mpegts,mpeg,dsf,iff,tak,shn,voc,oma,gsm,"
    "g722"
)
"""FFmpeg's demuxers that a file is tried with, whatever its name."""

DEMUXER_OF_SUFFIX = {".gsm": "gsm", ".g722": "g722"}
"""Formats that only their suffix tells: their content has no mark."""

HEADERLESS_CONTAINERS = frozenset(
    {"aac", "ac3", "amr", "dts", "eac3", "gsm", "g722", "mlp", "mpegts", "shn", "truehd"}
)
"""Containers without a header: the duration FFmpeg gives is only a guess from their bit rate."""

LOSSLESS_CODECS = (
    "flac", "alac", "wavpack", "ape", "tta", "shorten", "tak", "mlp", "truehd", "dsd",
)  # fmt: skip
"""Codecs that lose nothing; those that begin with ``pcm_`` do not either."""
