"""The audio formats that are read: what a new one needs is added here."""

from __future__ import annotations

# fmt: off
SUFFIXES = frozenset({
    ".aac", ".ac3", ".aif", ".aifc", ".aiff", ".ape", ".au", ".caf", ".flac", ".g722", ".gsm",
    ".m4a", ".m4b", ".mka", ".mp1", ".mp2", ".mp3", ".mp4", ".mpc", ".oga", ".ogg", ".opus",
    ".snd", ".spx", ".tta", ".w64", ".wav", ".wave", ".webm", ".wma", ".wv",
})
# fmt: on
"""Lower-case file extensions that are taken for audio when folders are walked."""

DEMUXERS = (
    "mp3,ogg,flac,mov,mp4,m4a,3gp,3g2,mj2,aac,wav,w64,aiff,caf,matroska,webm,asf,au,ape,wv,tta,"
    "mpc,mpc8,ac3,gsm,g722"
)
"""FFmpeg's demuxers that a file is tried with, whatever its name."""

DEMUXER_OF_SUFFIX = {".gsm": "gsm", ".g722": "g722"}
"""Formats that only their suffix tells: their content has no mark."""

HEADERLESS_CONTAINERS = frozenset({"aac", "ac3", "gsm", "g722"})
"""Containers without a header: the duration FFmpeg gives is only size divided by bit rate."""

LOSSLESS_CODECS = ("flac", "alac", "wavpack", "ape", "tta", "shorten")
"""Codecs that lose nothing; those that begin with ``pcm_`` do not either."""
