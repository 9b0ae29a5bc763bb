"""The invented catalogue of the sample report: its pieces, copies planted among them, a cover."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mutagen
import numpy as np
from mutagen.id3 import TALB, TCON, TDRC, TIT2, TPE1, TXXX
from sample_music import Score, perform

from auditor.audio import SAMPLE_RATE_HZ
from auditor.audio.decode import write_audio
from auditor.audio.tags import Tags
from auditor.augment.waveform import change_speed, crop, equalise, gain, plant, shift_pitch
from auditor.errors import UsageError, show_path

CATALOGUE, UPLOADS = "catalogue", "uploads"

CC_BY = "CC BY 4.0"
CC_BY_NC = "CC BY-NC 4.0"
CC_BY_SA = "CC BY-SA 4.0"
CC0 = "CC0 1.0"
RESERVED = "All rights reserved"

NO_TAGS = Tags()

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
    tags: Tags = NO_TAGS
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

COVERED = PIECES[9]
COVER = Piece(
    f"{UPLOADS}/letters home (cover).mp3",
    Tags("Letters Home", "Quayside Four", "", "Folk", "2024-06-14", RESERVED),
    dataclasses.replace(
        COVERED.score,
        root=COVERED.score.root - 5,
        beats_per_minute=88.0,
        lead="flute",
        chords="piano",
        drums="sparse",
    ),
)
"""A piece played anew in another key, tempo and arrangement: two tracks share a composition."""

TRUNCATED = f"{CATALOGUE}/Ida Quill/Letters Home (live).flac"
SILENT = f"{UPLOADS}/room tone.flac"
NOT_AUDIO = f"{UPLOADS}/readme.mp3"
LIVE = Score(41, 70.0, 78.0, 3, 46, "lydian", "piano", "flute", "sparse", 1.0)


def make_library(folder: Path) -> None:
    """Write the pieces, the copies, the cover and three files that cannot be compared as a whole.

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
    write_track(folder / COVER.file, perform(COVER.score), COVER.tags, bit_rate=128_000)
    live = Tags("Letters Home (live)", "Ida Quill", "", "Chamber", "2022-05-20", CC0)
    write_track(folder / TRUNCATED, perform(LIVE), live)
    whole = (folder / TRUNCATED).read_bytes()
    (folder / TRUNCATED).write_bytes(whole[: len(whole) * 6 // 10])
    write_track(folder / SILENT, np.zeros(20 * SAMPLE_RATE_HZ, dtype=np.float32), NO_TAGS)
    (folder / NOT_AUDIO).write_text("Please see the website for the tracks.\n", encoding="utf-8")


def write_track(path: Path, waveform: Waveform, tags: Tags, *, bit_rate: int | None = None) -> None:
    """Write a file in the format that its suffix names, with tags where there are any."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_audio(path, waveform, codec=path.suffix[1:], bit_rate=bit_rate)
    if tags == NO_TAGS:
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
