"""Oversized files: memory and time stay within what their sound is worth."""

from __future__ import annotations

import json

import pytest
from fault_audio import (
    MIB,
    encode_as,
    fast_wav,
    inflating_title,
    junk,
    large_comment,
    large_cover,
    large_title,
    long_mp3,
    long_silence,
    many_tracks,
)
from faults import ALL, MEMORY_BYTES, SIZES, End
from tunes import tune

from auditor.errors import SKIP_CODES

START_S, SHARE = 10.0, 0.2
COMMAND_S = 3.0
"""What a command takes without a file."""


def encoded(suffix: str) -> bytes:
    return encode_as(suffix, tune(1, duration_s=3.0))


FILES = {
    "title that inflates to 1 GiB.mp3": lambda path: inflating_title(path, encoded(".mp3")),
    "title of 200 MB.mp3": lambda path: large_title(path, encoded(".mp3")),
    "cover of 200 MB.mp3": lambda path: large_cover(path, encoded(".mp3")),
    "comments and covers of 360 MB.flac": lambda path: large_comment(path, encoded(".flac")),
    "1,000 tracks.mp4": many_tracks,
    "10 hours.mp3": lambda path: long_mp3(path, 10.0),
    "20 silent hours.flac": lambda path: long_silence(path, 20.0),
    "192 kHz.wav": lambda path: fast_wav(path, 20.0),
    "noise of 64 MB.mp3": lambda path: junk(path, 64 * MIB),
}
LARGER = {
    "192 kHz, 900 MB.wav": lambda path: fast_wav(path, 150.0),
    "noise of 1 GB.mp3": lambda path: junk(path, 953 * MIB),
    "noise of 1 GB.flac": lambda path: junk(path, 953 * MIB),
}
"""Those that FAULTS=all adds."""

QUICK = ("1,000 tracks.mp4",)


@pytest.mark.parametrize("size", SIZES)
def test_sizes(size, zygote, inputs, tally, tmp_path):
    files = {**FILES, **(LARGER if ALL else {})}
    names = QUICK if size == "quick" else tuple(files)
    measured = []
    with tally("sizes") as found:
        for name in names:
            path = tmp_path / name
            sound_s = files[name](path)
            where = ("-w", tmp_path / "ws", "--extractor", inputs.weights)
            how = ("--threshold", "1", "--no-report", "--format", "json", "-j", "1")
            end = zygote.audit("scan", path, *where, *how, timeout_s=3600.0)
            path.unlink()
            limit_s = START_S + COMMAND_S + SHARE * sound_s
            wrong = end.fault()
            if not wrong and end.peak_bytes > MEMORY_BYTES:
                wrong = f"a process took {end.peak_bytes >> 20} MB"
            if not wrong and end.processor_s > limit_s:
                wrong = f"took {end.processor_s:.0f} s; {limit_s:.0f} are allowed"
            if not wrong and not is_dealt_with(end, name):
                wrong = f"is neither embedded nor named: {end.stderr[-300:]}"
            found.case(name, wrong)
            measured.append(f"{name}: {end.processor_s:.0f} s, {end.peak_bytes >> 20} MB")
    print("\n".join(measured))


def is_dealt_with(end: End, name: str) -> bool:
    """Say whether a scan of one file embedded it, or names it with a code."""
    if "1 embedded" in end.stderr:
        return True
    skipped = json.loads(end.stdout)["skipped"] if end.stdout else []
    named = [one["path"].rsplit("/", 1)[-1] for one in skipped if one["code"] in SKIP_CODES]
    return named == [name]
