"""The sample report: an invented catalogue with copies planted in it, scanned as a user would.

``make sample`` runs it.  Pieces of ``sample_music`` are written with invented tags below a neutral
folder, altered copies are put among them, one pair is decided, ``audit scan`` runs, and its report
becomes ``reports/sample.html``.  What was found is compared with what was planted.

::

    python benchmarks/sample_report.py --output reports/sample.html

The same machine makes the same page, apart from the dates and the seconds that the scan took.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import mutagen
import numpy as np
from mutagen.id3 import TALB, TCON, TDRC, TIT2, TPE1, TXXX
from sample_music import Score, perform

from auditor.audio import write_audio
from auditor.augment.waveform import change_speed, crop, equalise, gain, plant, shift_pitch
from auditor.config import SAMPLE_RATE_HZ
from auditor.errors import AuditError, UsageError, show_path
from auditor.records import ScanResult, result_from_json
from auditor.tags import Tags

LIBRARY = Path("/tmp/library")
"""Paths in the page begin with this; it says nothing of the machine."""

CATALOGUE, UPLOADS = "catalogue", "uploads"
PAGE = Path("reports/sample.html")
MAX_REPORT_MB = 3.0

CC_BY = "CC BY 4.0"
CC_BY_NC = "CC BY-NC 4.0"
CC_BY_SA = "CC BY-SA 4.0"
CC0 = "CC0 1.0"
RESERVED = "All rights reserved"

Waveform = np.ndarray


@dataclass(frozen=True)
class Piece:
    """An original of the catalogue: its file, its tags and how it is played."""

    file: str
    tags: Tags
    score: Score


@dataclass(frozen=True)
class Copy:
    """A planted copy.

    Attributes
    ----------
    file, original : str
        Below the library.
    what : str
        What was done, for people.
    verdict : str
        One of ``records.VERDICTS``, expected of the scan.
    make : callable
        Waveform of the original to that of the copy; None copies the bytes.
    tags : Tags
    bit_rate : int, optional
        In bits per second.
    decision : str
        What ``audit decide`` says of the pair before the scan, empty for nothing.
    note : str
    """

    file: str
    original: str
    what: str
    verdict: str
    make: Callable[[Waveform], Waveform] | None = None
    tags: Tags = Tags()
    bit_rate: int | None = None
    decision: str = ""
    note: str = ""


def _piece(file: str, artist: str, genre: str, date: str, licence: str, *score: object) -> Piece:
    title = file.rsplit("/", 1)[-1].rsplit(".", 1)[0]
    tags = Tags(title=title, artist=artist, genre=genre, date=date, licence=licence)
    return Piece(f"{CATALOGUE}/{file}", tags, Score(*score))


# fmt: off
PIECES = (
    _piece("Ottilie Varn/Slow Lighthouse.flac", "Ottilie Varn", "Ambient", "2016-03-11", CC_BY,
           11, 92.0, 66.0, 4, 36, "lydian", "bell", "strings", "none", 1.0),
    _piece("Kestrel Yard/Tin Roof Sermon.flac", "Kestrel Yard", "Rock", "2014-09-02", CC_BY_NC,
           12, 84.0, 138.0, 4, 40, "pentatonic", "brass", "pluck", "rock", 1.0),
    _piece("Dry Harbour Trio/Nine Past Closing.ogg", "Dry Harbour Trio", "Jazz", "2018-11-23",
           CC_BY_SA, 13, 88.0, 112.0, 3, 41, "dorian", "piano", "piano", "brushes", 2.0),
    _piece("Salt Parade/Kites over Ostrava.flac", "Salt Parade", "Electronic", "2019-05-17", CC_BY,
           14, 90.0, 124.0, 4, 33, "minor", "pluck", "organ", "busy", 2.0),
    _piece("Nils Aberfoyle/Ferry at Dawn.flac", "Nils Aberfoyle", "Folk", "2012-06-08", RESERVED,
           15, 96.0, 84.0, 3, 38, "major", "flute", "pluck", "none", 1.0),
    _piece("The Lantern Office/Overtime.mp3", "The Lantern Office", "Electronic", "2020-01-30",
           RESERVED, 16, 80.0, 150.0, 4, 35, "phrygian", "reed", "reed", "busy", 1.5),
    _piece("Marrow and Thistle/Copper Field.flac", "Marrow and Thistle", "Folk", "2017-08-25",
           CC_BY, 17, 86.0, 118.0, 4, 43, "harmonic minor", "mallet", "organ", "busy", 2.0),
    _piece("Ottilie Varn/Glass Weather.ogg", "Ottilie Varn", "Ambient", "2018-02-02", CC_BY,
           18, 78.0, 72.0, 5, 44, "whole tone", "mallet", "flute", "none", 2.0),
    _piece("Kestrel Yard/Brass Knocker.mp3", "Kestrel Yard", "Rock", "2015-04-14", CC_BY_NC,
           19, 76.0, 168.0, 4, 37, "minor", "organ", "brass", "rock", 0.75),
    _piece("Ida Quill/Letters Home.flac", "Ida Quill", "Chamber", "2021-10-01", CC0,
           20, 90.0, 63.0, 4, 45, "minor", "brass", "strings", "brushes", 2.0),
    _piece("Salt Parade/Sixteen Doors.ogg", "Salt Parade", "Electronic", "2022-03-18", CC_BY,
           21, 82.0, 132.0, 4, 34, "dorian", "mallet", "bell", "sparse", 2.0),
    _piece("Dry Harbour Trio/Umbrella Weather.flac", "Dry Harbour Trio", "Jazz", "2019-04-05",
           CC_BY_SA, 22, 85.0, 94.0, 5, 39, "harmonic minor", "reed", "mallet", "brushes", 1.0),
)
# fmt: on
"""The originals; the scores are those of ``sample_music``."""

HOST = Score(31, 80.0, 106.0, 4, 42, "major", "brass", "organ", "rock", 1.0)
EXCERPT_START_S, EXCERPT_S, EXCERPT_AT_S = 40.0, 12.0, 52.0
CUT_S = 30.0


def faster(waveform: Waveform) -> Waveform:
    """Return it as a record player 5 % too fast would."""
    return change_speed(waveform, 1.05)


def higher(waveform: Waveform) -> Waveform:
    """Return it two semitones higher at the same tempo."""
    return shift_pitch(waveform, 2.0)


def middle(waveform: Waveform) -> Waveform:
    """Return the 30 s in the middle."""
    start_s = (len(waveform) / SAMPLE_RATE_HZ - CUT_S) / 2
    return crop(waveform, start_s=start_s, duration_s=CUT_S)


def inside_another(waveform: Waveform) -> Waveform:
    """Return another piece with 12 s of this one in it."""
    excerpt = crop(waveform, start_s=EXCERPT_START_S, duration_s=EXCERPT_S)
    return plant(excerpt, perform(HOST), position_s=EXCERPT_AT_S)


def single_edit(waveform: Waveform) -> Waveform:
    """Return it brighter, 3 dB quieter and without its first ten seconds."""
    return equalise(gain(waveform, -3.0), treble_db=3.0)[10 * SAMPLE_RATE_HZ :]


def same(waveform: Waveform) -> Waveform:
    """Return it as it is, to be encoded again."""
    return waveform


COPIES = (
    Copy(
        f"{UPLOADS}/master_final_v2.flac",
        PIECES[0].file,
        "the same bytes under another name",
        "identical file",
    ),
    Copy(
        f"{UPLOADS}/dj_morrow_-_tin_sermon.mp3",
        PIECES[1].file,
        "mp3 at 64 kbit/s under other tags",
        "same recording",
        same,
        Tags("Tin Sermon", "DJ Morrow", "", "Dance", "2021-07-04", RESERVED),
        64_000,
    ),
    Copy(
        f"{UPLOADS}/last orders.ogg",
        PIECES[2].file,
        "5 % faster, and so 0.8 semitones higher",
        "altered recording",
        faster,
        Tags("Last Orders", "Velvet Arcade", "", "Jazz", "2023-01-20", CC_BY),
    ),
    Copy(
        f"{UPLOADS}/kites-nightcore.mp3",
        PIECES[3].file,
        "2 semitones higher at the same tempo",
        "altered recording",
        higher,
        Tags("Kites (Higher)", "sped.up.sounds", "", "Electronic", "2024-02-11", CC0),
        128_000,
    ),
    Copy(
        f"{UPLOADS}/ringtone_0417.opus",
        PIECES[8].file,
        "30 s cut from the middle, 0:23 to 0:53, without tags",
        "same recording",
        middle,
    ),
    Copy(
        f"{UPLOADS}/overnight-express.mp3",
        PIECES[5].file,
        "12 s (0:40 to 0:52) inside another piece, from 0:52 on",
        "shared excerpt",
        inside_another,
        Tags("Overnight Express", "Paper Senate", "", "Rock", "2023-09-29", RESERVED),
        128_000,
    ),
    Copy(
        f"{CATALOGUE}/Marrow and Thistle/Copper Field (single edit).ogg",
        PIECES[6].file,
        "the first 10 s cut, brighter and 3 dB quieter; decided as licensed",
        "same recording",
        single_edit,
        Tags(
            "Copper Field (single edit)", "Marrow and Thistle", "", "Folk", "2018-01-12", RESERVED
        ),
        decision="licensed",
        note="Single of the same artist, contract no. 17 of 3 January 2018.",
    ),
)
"""What is planted: seven pairs, of which the last is decided before the scan."""

TRUNCATED = f"{CATALOGUE}/Ida Quill/Letters Home (live).flac"
SILENT = f"{UPLOADS}/room tone.flac"
NOT_AUDIO = f"{UPLOADS}/readme.mp3"
LIVE = Score(41, 70.0, 78.0, 3, 46, "lydian", "piano", "flute", "sparse", 1.0)


def make_library(folder: Path) -> None:
    """Write the pieces, the copies and the three files that cannot be compared as a whole.

    Parameters
    ----------
    folder : pathlib.Path
        Must not exist.

    Raises
    ------
    UsageError
        If it exists.
    AuditError
        If python-stretch is not installed.
    """
    if folder.exists():
        raise UsageError(
            f"{show_path(folder)} exists already; the sample is made in a new folder. "
            "Remove it, or name another one: --library DIR"
        )
    waveforms = {piece.file: perform(piece.score) for piece in PIECES}
    for piece in PIECES:
        bit_rate = 128_000 if piece.file.endswith(".mp3") else None
        write_track(folder / piece.file, waveforms[piece.file], piece.tags, bit_rate=bit_rate)
    for copy in COPIES:
        path = folder / copy.file
        if copy.make is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / copy.original, path)
        else:
            altered = copy.make(waveforms[copy.original])
            write_track(path, altered, copy.tags, bit_rate=copy.bit_rate)
    live = Tags("Letters Home (live)", "Ida Quill", "", "Chamber", "2022-05-20", CC0)
    write_track(folder / TRUNCATED, perform(LIVE), live)
    whole = (folder / TRUNCATED).read_bytes()
    (folder / TRUNCATED).write_bytes(whole[: len(whole) * 6 // 10])
    write_track(folder / SILENT, np.zeros(20 * SAMPLE_RATE_HZ, dtype=np.float32), Tags())
    (folder / NOT_AUDIO).write_text("Please see the website for the tracks.\n", encoding="utf-8")


def write_track(path: Path, waveform: Waveform, tags: Tags, *, bit_rate: int | None = None) -> None:
    """Write a file in the format that its suffix names, with tags where there are any."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_audio(path, waveform, codec=path.suffix[1:], bit_rate=bit_rate)
    if tags == Tags():
        return
    found = mutagen.File(path)
    if path.suffix == ".mp3":
        frames = (TIT2, TPE1, TALB, TCON, TDRC)
        values = (tags.title, tags.artist, tags.album, tags.genre, tags.date)
        if found.tags is None:
            found.add_tags()
        for frame, value in zip(frames, values, strict=True):
            if value:
                found.tags.add(frame(encoding=3, text=[value]))
        found.tags.add(TXXX(encoding=3, desc="LICENSE", text=[tags.licence]))
    else:
        for field, value in vars(tags).items():
            if value:
                found["LICENSE" if field == "licence" else field.upper()] = value
    found.save()


def run_audit(folder: Path, *arguments: str, ok: Sequence[int] = (0,)) -> None:
    """Run one command line of ``audit`` in a folder, shown as it would be typed.

    Raises
    ------
    AuditError
        If it ends with another exit code than the ``ok`` ones.
    """
    line = shlex.join(["audit", *arguments])
    print(f"$ {line}", file=sys.stderr, flush=True)
    known = {key: value for key, value in os.environ.items() if not key.startswith("AUDIT_")}
    done = subprocess.run(
        [sys.executable, "-m", "auditor.cli", *arguments],
        cwd=folder,
        env={**known, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)},
        stdout=sys.stderr,
        check=False,
    )
    if done.returncode not in ok:
        raise AuditError(
            f"that command ended with exit code {done.returncode}; {ok} was expected. "
            f"Its message stands above; the files are in {show_path(folder)}"
        )


def scan_library(folder: Path, page: str) -> ScanResult:
    """Take the library in, decide one pair, scan with the default budget; return the result."""
    run_audit(folder, "scan", CATALOGUE, UPLOADS, "--no-report", "--quiet", ok=(1,))
    for copy in COPIES:
        if copy.decision:
            run_audit(
                folder, "decide", copy.original, copy.file, "--as", copy.decision,
                "--note", copy.note, "--by", "Ana Reyes",
            )  # fmt: skip
    run_audit(
        folder, "scan", CATALOGUE, UPLOADS, "--max-report-size", f"{MAX_REPORT_MB:g}",
        "--output", page, ok=(1,),
    )  # fmt: skip
    result = result_from_json((folder / page).with_suffix(".json").read_text(encoding="utf-8"))
    if not isinstance(result, ScanResult):
        raise AuditError(f"{show_path(page)} holds no scan. Run it again with --debug.")
    return result


def compare(result: ScanResult, folder: Path) -> list[str]:
    """Return in words where the scan differs from what was planted; nothing where it does not."""
    path_of = {t.id: os.path.relpath(t.path, folder) for t in result.tracks}
    shown = [pair for pair in result.pairs if pair.flagged or pair.decision]
    pairs = {frozenset((path_of[p.a], path_of[p.b])): p for p in shown}
    said = []
    for copy in COPIES:
        pair = pairs.pop(frozenset((copy.file, copy.original)), None)
        if pair is None:
            said.append(f"{copy.file}: not found; planted: {copy.what}")
        elif pair.verdict != copy.verdict:
            said.append(f"{copy.file}: {pair.verdict!r}; {copy.verdict!r} was planted")
        elif pair.decision != copy.decision:
            said.append(f"{copy.file}: decided as {pair.decision}; {copy.decision!r} was planted")
    said += [f"{' | '.join(sorted(k))}: {p.verdict}; not planted" for k, p in pairs.items()]
    return said


def main() -> int:
    """Make the library, scan it, keep the page; return 1 if it differs from the plan."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=PAGE, help="the page to write")
    parser.add_argument(
        "--library", type=Path, default=LIBRARY, help="a new folder, whose name the page shows"
    )
    parser.add_argument("--keep", action="store_true", help="keep the library")
    options = parser.parse_args()
    folder = options.library.resolve()
    try:
        make_library(folder)
        result = scan_library(folder, str(Path("reports", options.output.name)))
        options.output.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / "reports" / options.output.name, options.output)
    except AuditError as error:
        print(f"sample: {error}", file=sys.stderr)
        return 2
    differences = compare(result, folder)
    for line in differences:
        print(f"differs: {line}", file=sys.stderr)
    if not options.keep:
        shutil.rmtree(folder)
    size_mb = options.output.stat().st_size / 1e6
    print(f"{show_path(options.output)}: {len(result.pairs)} pairs, {size_mb:.1f} MB")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
