"""The music of the demo, fetched, the user's own or synthesised; and the copies planted in it.

Everything lies below ``demo/``; ``demo/planted.json`` remembers which copy was
made from which file, so that a second run takes up what is there.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fetch_corpus import fetch_package
from synthetic_music import synthesise_track, write_music

from auditor.audio import SAMPLE_RATE_HZ
from auditor.audio.decode import AudioReader, write_audio
from auditor.audio.files import find_audio
from auditor.audio.isolated import load_waveform
from auditor.augment.waveform import add_noise, change_speed, crop, equalise, gain, plant
from auditor.errors import AudioError, UsageError, show_path

PACKAGES = ("drascula-music", "davegnukem-data", "adonthell-data")
"""Rows of corpus.tsv with the role ``test``: 49 tracks, 1.4 hours, 71 MB to download."""

N_SYNTHETIC = 14
MIN_TRACK_S, MAX_TRACK_S = 40.0, 900.0
"""Tracks of these lengths are copied."""

DEMO = Path("demo")
MUSIC, SYNTHETIC, PLANTED, NEW = (DEMO / n for n in ("music", "synthetic", "planted", "new"))
WORKSPACE, PLAN = DEMO / ".audit", DEMO / "planted.json"


@dataclass(frozen=True)
class Plant:
    """One altered copy: its file, the file it was made from (both absolute), and what was done."""

    file: str
    original: str
    what: str


def re_encode(original: str, copy: Path) -> None:
    write_audio(copy, load_waveform(original), codec="mp3", bit_rate=32_000)


def cut_excerpt(original: str, copy: Path) -> None:
    waveform = load_waveform(original)
    start_s = max(0.0, len(waveform) / SAMPLE_RATE_HZ - 30.0) / 2
    write_audio(copy, crop(waveform, start_s=start_s, duration_s=30.0), codec="opus")


def copy_bytes(original: str, copy: Path) -> None:
    shutil.copyfile(original, copy)


def make_quieter(original: str, copy: Path) -> None:
    write_audio(copy, gain(load_waveform(original), -12.0), codec="flac")


def make_duller(original: str, copy: Path) -> None:
    waveform = equalise(load_waveform(original), treble_db=-6.0)
    write_audio(copy, waveform[5 * SAMPLE_RATE_HZ :], codec="aac", bit_rate=48_000)


def speed_up(original: str, copy: Path) -> None:
    faster = change_speed(load_waveform(original), 1.05)
    noisy = add_noise(faster, snr_db=12.0, rng=np.random.default_rng(0))
    write_audio(copy, noisy, codec="mp3")


def plant_excerpt(original: str, copy: Path) -> None:
    waveform = load_waveform(original)
    start_s = len(waveform) / SAMPLE_RATE_HZ / 3
    excerpt = crop(waveform, start_s=start_s, duration_s=12.0)
    host = synthesise_track(101, duration_s=70.0)
    write_audio(copy, plant(excerpt, host, position_s=40.0), codec="ogg")


PLANTS: tuple[tuple[str, str, Callable[[str, Path], None]], ...] = (
    ("planted/untitled-1.mp3", "whole track, mp3 at 32 kbit/s, no tags", re_encode),
    ("planted/untitled-2.opus", "30 s from its middle, as opus, no tags", cut_excerpt),
    ("planted/untitled-3", "the same bytes under another name", copy_bytes),
    ("planted/untitled-4.flac", "12 dB quieter, as flac, no tags", make_quieter),
    ("planted/untitled-5.mp3", "5 % faster and so higher, pink noise over it", speed_up),
    ("planted/untitled-6.ogg", "12 s of it inside another piece, from 0:40 on", plant_excerpt),
    ("new/submission.m4a", "treble 6 dB down, first 5 s cut, aac at 48 kbit/s", make_duller),
)
"""File below ``demo/`` (a copy of bytes keeps its suffix), what it is, how it is made.  The last is
not scanned but checked."""


def get_music(given: str | None) -> Path:
    """Return the folder of music: the user's, or what can be fetched, or synthesised.

    Raises
    ------
    UsageError
        If the folder that was given does not exist.
    """
    if given:
        folder = Path(os.path.abspath(os.path.expanduser(given)))
        if not folder.is_dir():
            raise UsageError(f"{show_path(folder)} is no folder. Name one: make demo MUSIC=DIR")
        return folder
    print(
        f"Fetching music from Debian packages into {MUSIC}/ (about 70 MB, once; 11 s at 50 Mbit/s):"
    )
    reason = fetch_music()
    if any((MUSIC / package / ".complete").exists() for package in PACKAGES):
        if reason:
            print(f"  Not all of it could be had ({reason}); the demo goes on with what there is.")
        return MUSIC
    print(f"  No Debian package could be had: {reason}.")
    print(
        f"  The demo makes do with {N_SYNTHETIC} pieces that it synthesises in {SYNTHETIC}/. They "
        "are much more\n  alike than music is: expect pairs that were not planted, and conclude "
        "nothing from them.\n  To hear it on music: make demo MUSIC=/a/folder/of/yours"
    )
    write_music(SYNTHETIC, N_SYNTHETIC)
    return SYNTHETIC


def fetch_music() -> str:
    """Fetch the packages; return why one could not be had, empty if all are there."""
    refreshed = False
    for package in PACKAGES:
        while True:
            try:
                n_tracks = fetch_package(package, MUSIC / package)
            except FileNotFoundError as error:
                return f"there is no {error.filename} here"
            except (OSError, subprocess.CalledProcessError) as error:
                said = getattr(error, "stderr", None) or str(error).encode()
                reason = (said.decode(errors="replace").strip().splitlines() or ["no reason"])[-1]
            else:
                print(f"  {package}: {n_tracks} tracks")
                break
            if refreshed or "Unable to locate" not in reason:
                return reason
            if os.geteuid() != 0:
                return f"{reason}; to refresh apt's lists, run as root: apt-get update"
            print("  apt does not know the package; running apt-get update")
            subprocess.run(["apt-get", "-q", "update"], stdout=subprocess.DEVNULL, check=False)
            refreshed = True
    return ""


def plant_copies(music: Path) -> tuple[Plant, ...]:
    """Make the altered copies, or return those of an earlier run on the same music.

    Raises
    ------
    UsageError
        If the music has too few tracks to copy.
    """
    plants = read_plan(music)
    if plants is not None:
        return plants
    for folder in (PLANTED, NEW, WORKSPACE):
        shutil.rmtree(folder, ignore_errors=True)
    PLAN.unlink(missing_ok=True)
    made = []
    for original, (name, what, make) in zip(choose_originals(music), PLANTS, strict=True):
        path = Path(os.path.abspath(DEMO / name))
        if not path.suffix:
            path = path.with_suffix(os.path.splitext(original)[1])
        path.parent.mkdir(parents=True, exist_ok=True)
        make(original, path)
        made.append(Plant(str(path), original, what))
    entries = [vars(plant) for plant in made]
    PLAN.write_text(json.dumps({"music": str(music.absolute()), "plants": entries}, indent=1))
    return tuple(made)


def read_plan(music: Path) -> tuple[Plant, ...] | None:
    """Return the copies of an earlier run, None if they are not all there or of other music."""
    try:
        plan = json.loads(PLAN.read_bytes())
        plants = tuple(Plant(**entry) for entry in plan["plants"])
        same = plan["music"] == str(music.absolute()) and len(plants) == len(PLANTS)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    files = itertools.chain.from_iterable((plant.file, plant.original) for plant in plants)
    return plants if same and all(os.path.exists(file) for file in files) else None


def choose_originals(music: Path) -> list[str]:
    """Return one file for each copy to make, spread over the folder, the same ones each time.

    Raises
    ------
    UsageError
        If too few tracks say that they are between 40 s and 15 minutes long.
    """
    files = [os.fsdecode(found.path) for found in find_audio([music]).files]
    chosen: list[str] = []
    for row in np.random.default_rng(0).permutation(len(files)):
        try:
            with AudioReader(files[row]) as reader:
                declared_s = reader.info.declared_s or 0.0
        except AudioError:
            continue
        if MIN_TRACK_S <= declared_s <= MAX_TRACK_S:
            chosen.append(files[row])
        if len(chosen) == len(PLANTS):
            return chosen
    raise UsageError(
        f"{show_path(music)} has {len(chosen)} tracks of {MIN_TRACK_S:.0f} s to "
        f"{MAX_TRACK_S / 60:.0f} minutes; {len(PLANTS)} are needed to plant copies of. "
        "Name a larger folder: make demo MUSIC=DIR"
    )
