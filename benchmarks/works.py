"""Works for the composition benchmark: scores of the music21 corpus and of Debian packages.

``works.jsonl`` has one work a line: notes as (start, length, MIDI pitch, part) in quarter notes.
The tunes of the music21 corpus are read by its own tokeniser, which takes a hundredth of the time
of its full parser; Bach's chorales by the full one; MIDI files by mido.  A fifth of the works, by a
hash of the title, is kept out of training (``is_test``), with all tunes of the same title in any
collection.  The Essen collection is for tests only: its licence is unclear.

Examples
--------
::

    python benchmarks/works.py scores
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import re
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from arrangements import Work

SCORES_TSV = Path(__file__).with_name("scores.tsv")
TUNES = {
    "aird": "airdsAirs",
    "oneill": "oneills1850",
    "ryan": "ryansMammoth",
    "essen": "essenFolksong",
}
"""Collections of one-line tunes in ABC notation, and their folders in the music21 corpus."""

TRAINED_ON = ("aird", "oneill", "ryan", "bach", "midi")
_MIN_NOTES = 16
_MAX_TUNE_QUARTERS = 400.0
_MAX_MIDI_S = 150.0
_MIN_MIDI_S = 40.0
_LEAST_QUARTERS = 80.0


def plain_title(title: str) -> str:
    """Return a title without case, punctuation and articles.

    Examples
    --------
    >>> plain_title("The Ranting Highlandman.")
    'ranting highlandman'
    """
    words = "".join(c if c.isalnum() else " " for c in title.lower().replace("'", "")).split()
    return " ".join(w for w in words if w not in ("the", "a", "an", "no", "first", "second"))


def is_test(work: Work) -> bool:
    """Say whether a work is kept out of training, with all works of its title."""
    key = work.id if work.collection == "bach" else plain_title(work.title) or work.id
    return work.collection == "essen" or _hash(key) % 5 == 0


def _hash(text: str) -> int:
    return int(hashlib.sha256(text.encode()).hexdigest(), 16)


def load_works(folder: Path) -> list[Work]:
    """Return the works of ``works.jsonl``, in the order of the file."""
    works = []
    for line in (folder / "works.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        row["notes"] = tuple(tuple(note) for note in row["notes"])
        row["programs"] = {int(part): p for part, p in row.get("programs", {}).items()}
        works.append(Work(**row))
    return works


def lengthened(work: Work) -> Work:
    """Return a work that is played as often as a minute or so takes, as a short tune would be."""
    from dataclasses import replace

    if work.programs:
        return work
    end = max(start + length for start, length, _, _ in work.notes)
    end = -(-end // work.bar) * work.bar
    times = min(4, max(1, -(-int(_LEAST_QUARTERS) // max(1, int(end)))))
    return replace(
        work,
        notes=tuple((s + k * end, d, p, r) for k in range(times) for s, d, p, r in work.notes),
    )


def fetch_packages(into: Path) -> None:
    """Download and unpack the packages of ``scores.tsv`` that hold MIDI files."""
    with SCORES_TSV.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["kind"] == "midi"]
    for package in sorted({row["package"] for row in rows}):
        target = into / package
        if target.exists():
            continue
        with tempfile.TemporaryDirectory(dir=into) as tmp:
            subprocess.run(["apt-get", "-q", "download", package], cwd=tmp, check=True)
            (archive,) = Path(tmp).glob("*.deb")
            subprocess.run(["dpkg-deb", "-x", str(archive), f"{tmp}/root"], check=True)
            os.rename(f"{tmp}/root", target)


def midi_works(folder: Path) -> Iterator[Work]:
    """Return the MIDI files below a folder as works; a quarter note is half a second."""
    import mido

    seen = set()
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in (".mid", ".midi") or not path.is_file():
            continue
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest in seen:
            continue
        seen.add(digest)
        try:
            notes, programs = _midi_notes(mido.MidiFile(path, clip=True))
        except (OSError, ValueError, EOFError, KeyError, mido.KeySignatureError) as error:
            print(f"left out: {path.name} ({error})")
            continue
        pitched = [note for note in notes if note[3] != 9]
        if len(pitched) < 60 or max(n[0] + n[1] for n in notes) < 2 * _MIN_MIDI_S:
            continue
        yield Work(
            f"midi/{path.relative_to(folder)}",
            "midi",
            path.stem,
            tuple(sorted(notes)),
            n_parts=len(programs),
            programs=programs,
        )


def _midi_notes(file: Any) -> tuple[list[tuple[float, float, int, int]], dict[int, int]]:
    now, programs, sounding, notes = 0.0, {}, {}, []
    for message in file:
        now += message.time
        if now > _MAX_MIDI_S:
            break
        if message.type == "program_change":
            programs.setdefault(message.channel, message.program)
        elif message.type == "note_on" and message.velocity:
            sounding.setdefault((message.channel, message.note), now)
        elif message.type in ("note_off", "note_on"):
            start = sounding.pop((message.channel, message.note), None)
            if start is not None and now - start > 0.01:
                length = min(now - start, 8.0)
                notes.append(
                    (round(2 * start, 3), round(2 * length, 3), message.note, message.channel)
                )
    return notes, {part: programs.get(part, 0) for part in sorted({n[3] for n in notes})}


def tune_works(collection: str) -> Iterator[Work]:
    """Return the tunes of a collection of the music21 corpus, repeats played."""
    import music21

    folder = Path(music21.__file__).parent / "corpus" / TUNES[collection]
    for path in sorted(folder.glob("*.abc")):
        text = path.read_text(errors="replace")
        for k, tune in enumerate(re.split(r"(?m)^(?=X:)", text)):
            if not tune.startswith("X:"):
                continue
            try:
                title, bar, sharps, notes = _read_tune(tune)
            except Exception as error:  # music21 raises whatever it stumbles over
                print(f"left out: {path.name} {k} ({error})")
                continue
            if len(notes) >= _MIN_NOTES:
                yield Work(f"{collection}/{path.stem}/{k}", collection, title, notes, bar, sharps)


def _read_tune(text: str) -> tuple[str, float, int, tuple[tuple[float, float, int, int], ...]]:
    from music21 import abcFormat, pitch

    reader = abcFormat.ABCHandler()
    reader.process(text)
    title, bar, sharps, now = "", 4.0, 0, 0.0
    notes: list[tuple[float, float, int, int]] = []
    repeat_from, repeat_at = 0, 0.0
    for token in reader.tokens:
        if isinstance(token, abcFormat.ABCMetadata):
            if token.isTitle() and not title:
                title = token.data
            elif token.isMeter():
                signature = token.getTimeSignatureParameters()
                bar = 4.0 * signature[0] / signature[1] if signature else bar
            elif token.isKey():
                sharps = token.getKeySignatureParameters()[0] or 0
        elif isinstance(token, abcFormat.ABCBar):
            if token.src.startswith(":") and now < _MAX_TUNE_QUARTERS:
                shift = now - repeat_at
                notes += [(s + shift, d, p, r) for s, d, p, r in notes[repeat_from:]]
                now += shift
            if ":" in token.src or token.src in ("||", "|]"):
                repeat_from, repeat_at = len(notes), now
        elif isinstance(token, abcFormat.ABCNote) and token.quarterLength:
            if not token.isRest and token.pitchName:
                midi = int(pitch.Pitch(token.pitchName).midi)
                notes.append((round(now, 4), round(token.quarterLength, 4), midi, 0))
            now += token.quarterLength
    return title, bar, sharps, tuple(notes)


def chorale_works(limit: int = 250) -> Iterator[Work]:
    """Return chorales of Bach from the music21 corpus, four parts each."""
    import music21
    from music21 import converter, note

    folder = Path(music21.__file__).parent / "corpus" / "bach"
    for path in sorted(folder.glob("bwv*.mxl"))[:limit]:
        score = converter.parse(path, forceSource=True)
        notes = sorted(
            (round(float(n.offset), 4), round(float(n.quarterLength), 4), int(n.pitch.midi), part)
            for part, line in enumerate(score.parts)
            for n in line.flatten().notes
            if isinstance(n, note.Note) and n.quarterLength > 0
        )
        if len(notes) >= _MIN_NOTES and len(score.parts) > 1:
            yield Work(
                f"bach/{path.stem}", "bach", path.stem, tuple(notes), n_parts=len(score.parts)
            )


def main() -> None:
    """Write ``works.jsonl``; what is there already is kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    warnings.filterwarnings("ignore")
    target = folder / "works.jsonl"
    if target.exists():
        return
    packages = folder / "packages"
    packages.mkdir(parents=True, exist_ok=True)
    fetch_packages(packages)
    part = target.with_suffix(".part")
    with part.open("w", encoding="utf-8") as file:
        for source in (*map(tune_works, TUNES), chorale_works(), midi_works(packages)):
            for work in source:
                row = {k: v for k, v in vars(work).items() if v not in ("", {})}
                file.write(json.dumps(row) + "\n")
    part.rename(target)


if __name__ == "__main__":
    main()
