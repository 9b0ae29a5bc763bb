"""Mixes of known tracks: does ``audit tracklist`` name them, in order, with their times?

A mix is made of sections of tracks of a role, each at a speed of its own (within 8 %, as by a
turntable), some with an equaliser or under a voice, joined by crossfades of 8 to 16 s.  Tracks that
are not in the mix are in the catalogue, too.

Examples
--------
::

    python benchmarks/mixes.py corpus --role test --tracks 30 --section-s 220 300 --mixes 2
    python benchmarks/mixes.py corpus --role test --tracks 60 --section-s 20 20 --fade-s 1 1

What the command alone takes for ten hours: the mix is made first, then the command runs by itself
and writes JSON, which is judged::

    python benchmarks/mixes.py corpus --role test --tracks 142 --section-s 220 300 --repeat 4 --make
    audit tracklist runs/mixes/mix-142-220-0.mp3 -w runs/mixes/ws --no-report --format json > r.json
    python benchmarks/mixes.py corpus --role test --judge r.json runs/mixes/mix-142-220-0.json
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from copies import corpus_paths

from auditor.api.tracklist import tracklist
from auditor.audio import SAMPLE_RATE_HZ
from auditor.audio.encode import write_audio
from auditor.audio.files import hash_file
from auditor.audio.isolated import load_waveform
from auditor.augment.waveform import change_speed
from auditor.errors import AudioError
from auditor.ingest.embedders import make_embedder
from auditor.ingest.session import ingest
from auditor.parallel import one_thread
from auditor.records import TracklistResult, result_from_json
from auditor.training.dataset import group_tracks, read_same_list
from auditor.workspace import open_workspace


@dataclass
class Section:
    """A section of a track in a mix; ``start_s`` and ``end_s`` take in the fades.

    Between ``heard_start_s`` and ``heard_end_s`` its own sound, before the fades, is within
    ``HEARD_DB`` of its mean: many a track ends in seconds of silence.
    """

    path: str
    start_s: float
    end_s: float
    track_start_s: float
    speed: float
    sound: str
    heard_start_s: float
    heard_end_s: float


HEARD_DB = 30.0


def heard_span_s(waveform: np.ndarray) -> tuple[float, float]:
    """Return from when to when a waveform is heard, in seconds."""
    n = round(0.1 * SAMPLE_RATE_HZ)
    powers = (waveform[: len(waveform) // n * n].reshape(-1, n) ** 2).mean(axis=1)
    heard = np.flatnonzero(powers >= powers.mean() * 10 ** (-HEARD_DB / 10))
    return float(heard[0]) * 0.1, float(heard[-1] + 1) * 0.1


def equalise(waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a waveform whose lows, mids and highs are turned up or down by up to 9 dB."""
    spectrum = np.fft.rfft(waveform)
    hz = np.fft.rfftfreq(len(waveform), 1.0 / SAMPLE_RATE_HZ)
    gains_db = np.interp(hz, [60, 250, 1000, 4000, 8000], rng.uniform(-9, 9, 5))
    return np.fft.irfft(spectrum * 10 ** (gains_db / 20), len(waveform)).astype(np.float32)


def voice(n: int, rng: np.random.Generator) -> np.ndarray:
    """Return something like speech: noise in bands, in syllables of a fifth of a second."""
    t = np.arange(n) / SAMPLE_RATE_HZ
    pitch = 120.0 + 30.0 * np.sin(2 * np.pi * 0.3 * t)
    buzz = np.sign(np.sin(2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE_HZ)) + rng.normal(0, 0.3, n)
    syllables = np.repeat(rng.random(n // 3200 + 1) > 0.35, 3200)[:n]
    return (buzz * syllables).astype(np.float32)


def make_mix(
    paths: list[str],
    file: Path,
    rng: np.random.Generator,
    *,
    n_sections: int,
    section_s: tuple[float, float],
    fade_s: tuple[float, float],
) -> list[Section]:
    """Write a mix of one section each of the first paths that are long enough; say where it is."""
    sections: list[Section] = []
    longest = round((n_sections * 1.1 * section_s[1] + 600.0) * SAMPLE_RATE_HZ)
    space, n_mix = np.zeros(longest, np.float32), 0  # joined in place: hours are gigabytes
    for path in paths:
        if len(sections) == n_sections:
            break
        speed = float(rng.uniform(0.92, 1.08))
        wanted = float(rng.uniform(*section_s)) * speed
        try:
            whole = load_waveform(path, duration_s=600.0)
        except AudioError as error:
            print(error, file=sys.stderr)
            continue
        first = int(rng.integers(0, max(1, len(whole) - round(wanted * SAMPLE_RATE_HZ))))
        part = whole[first : first + round(wanted * SAMPLE_RATE_HZ)]
        if len(part) < 0.8 * section_s[0] * SAMPLE_RATE_HZ or np.abs(part).max() < 0.01:
            continue
        part = change_speed(part, speed)
        part = part / max(1e-6, float(np.sqrt(np.mean(part**2)))) * 0.1
        heard = heard_span_s(part)
        sound = ("plain", "equaliser", "voice")[int(rng.choice(3, p=(0.4, 0.4, 0.2)))]
        if sound == "equaliser":
            part = equalise(part, rng)
        if sound == "voice":
            spoken = voice(len(part), rng)
            spoken[: len(part) // 3] = 0
            part = part + 0.1 * spoken / max(1e-6, float(np.sqrt(np.mean(spoken**2))))
        n_fade = round(float(rng.uniform(*fade_s)) * SAMPLE_RATE_HZ)
        n_fade = min(n_fade, n_mix // 2, len(part) // 2) if n_mix else 0
        ramp = np.linspace(0.0, np.pi / 2, n_fade)
        at = n_mix - n_fade
        if n_fade:
            space[at:n_mix] *= np.cos(ramp)
            part[:n_fade] = part[:n_fade] * np.sin(ramp)
        n_mix = at + len(part)
        space[at:n_mix] += part
        sections.append(
            Section(
                path,
                at / SAMPLE_RATE_HZ,
                n_mix / SAMPLE_RATE_HZ,
                first / SAMPLE_RATE_HZ,
                speed,
                sound,
                at / SAMPLE_RATE_HZ + heard[0],
                at / SAMPLE_RATE_HZ + heard[1],
            )
        )
    mix = space[:n_mix]
    mix /= max(1.0, float(max(mix.max(), -mix.min())))
    write_audio(file, mix, codec="mp3", bit_rate=128_000)
    return sections


def judge(result: TracklistResult, sections: list[Section], same: dict[str, int]) -> dict:
    """Return how many sections were named, how far off their times are, and false entries."""
    path_of = {track.id: track.path for track in result.tracks}
    entries = [(same[path_of[e.track]], e) for e in result.entries]
    found, errors_s, heard_s, used = 0, [], [], set()
    for section in sections:
        group = same[section.path]
        near = [
            i
            for i, (number, e) in enumerate(entries)
            if number == group and e.end_s > section.start_s and e.start_s < section.end_s
        ]
        used.update(near)
        if near:
            found += 1
            start_s = min(entries[i][1].start_s for i in near)
            end_s = max(entries[i][1].end_s for i in near)
            errors_s += [start_s - section.start_s, end_s - section.end_s]
            heard_s += [start_s - section.heard_start_s, end_s - section.heard_end_s]
    false = [i for i in range(len(entries)) if i not in used]
    order = [same[s.path] for s in sections]
    named = [number for number, _ in entries if number in order]
    firsts = list(dict.fromkeys(named))
    return {
        "n_sections": len(sections),
        "n_found": found,
        "n_false": len(false),
        "false": [(path_of[entries[i][1].track], entries[i][1].score) for i in false],
        "in_order": firsts == [number for number in order if number in firsts],
        "errors_s": [round(e, 2) for e in errors_s],
        "errors_heard_s": [round(e, 2) for e in heard_s],
        "missed": [
            (s.path, s.sound, round(s.speed, 3))
            for s in sections
            if not any(
                number == same[s.path] and e.end_s > s.start_s and e.start_s < s.end_s
                for number, e in entries
            )
        ],
    }


def tell(result: TracklistResult, sections: list[Section], same: dict[str, int]) -> dict:
    """Return what ``judge`` does, with the length of the mix and how far off its times are."""
    found = judge(result, sections, same)
    errors, heard = (np.abs(found[name]) for name in ("errors_s", "errors_heard_s"))
    return found | {
        "minutes": round(result.submissions[0].duration_s / 60, 1),
        "threshold": result.threshold.threshold,
        "median_error_s": float(np.median(errors)) if len(errors) else None,
        "share_within_2s": float((errors <= 2.0).mean()) if len(errors) else None,
        "median_error_heard_s": float(np.median(heard)) if len(heard) else None,
        "share_heard_within_2s": float((heard <= 2.0).mean()) if len(heard) else None,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--role", default="val")
    parser.add_argument("--tracks", type=int, default=20)
    parser.add_argument("--mixes", type=int, default=1)
    parser.add_argument("--section-s", type=float, nargs=2, default=(60.0, 150.0))
    parser.add_argument("--fade-s", type=float, nargs=2, default=(8.0, 16.0))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=1, help="times that tracks may be taken")
    parser.add_argument("--make", action="store_true", help="make the mixes and stop")
    parser.add_argument("--judge", type=Path, nargs=2, metavar=("RESULT", "TRUTH"))
    parser.add_argument("--folder", type=Path, default=Path("runs/mixes"))
    args = parser.parse_args()
    one_thread()
    args.folder.mkdir(parents=True, exist_ok=True)
    paths = corpus_paths(args.corpus, args.role)
    listed = read_same_list(Path(__file__).with_name("natural_duplicates.tsv"))
    groups = group_tracks(paths, [hash_file(path) for path in paths], listed)
    same = dict(zip(paths, map(int, groups), strict=True))
    if args.judge:
        result = result_from_json(args.judge[0].read_text())
        sections = [Section(**one) for one in json.loads(args.judge[1].read_text())]
        print(json.dumps(tell(result, sections, same)))
        return 0
    with open_workspace(args.folder / "ws", write=True) as workspace:
        embedder = make_embedder(workspace.extractor, jobs=args.jobs)
        ingest(workspace, [args.corpus / args.role], embedder=embedder)
        for number in range(args.mixes):
            rng = np.random.default_rng([number, args.tracks])
            chosen, seen = [], set()
            for i in rng.permutation(len(paths)).tolist():
                if same[paths[i]] not in seen:
                    chosen.append(paths[i])
                    seen.add(same[paths[i]])
            file = args.folder / f"mix-{args.tracks}-{args.section_s[0]:g}-{number}.mp3"
            sections = make_mix(
                chosen * args.repeat,
                file,
                rng,
                n_sections=args.tracks,
                section_s=tuple(args.section_s),
                fade_s=tuple(args.fade_s),
            )
            truth = [dataclasses.asdict(section) for section in sections]
            file.with_suffix(".json").write_text(json.dumps(truth))
            if args.make:
                continue
            started = time.monotonic()
            moments: list[float] = []
            result = tracklist(
                workspace,
                file,
                on_submission=lambda _, at=moments: at.append(time.monotonic()),
            )
            found = tell(result, sections, same) | {
                "mix": file.name,
                "seconds": round(time.monotonic() - started, 1),
                "seconds_after_embedding": round(time.monotonic() - moments[0], 1),
                "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            }
            print(json.dumps(found), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
