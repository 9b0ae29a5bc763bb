"""Copies further away than the network hears, and of seconds: what ``audit check --wide`` finds.

A role of the corpus is scanned once.  Of some of its tracks, 40 s are altered in each way and
checked by the code of ``audit check``, at its default budget, as they are and wide.  Excerpts are
planted in tracks of another role.  What exists is kept, so a killed run goes on.

``--strangers ROLE`` checks the tracks of another role wide instead and lists the scores that they
reach, beside what the calibration expects of so many comparisons.

``--scan`` puts the copies into a catalogue of the first minute of each track, and scans it as it is
and wide, at the default budget of a scan.

Examples
--------
::

    python benchmarks/wide.py corpus --role test --hosts val --copies 16
    python benchmarks/wide.py corpus --role val --strangers test
    python benchmarks/wide.py corpus --role test --scan --every 5 --copies 2
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from copies import corpus_paths, write_wav
from unseen import ring
from witness import SAME

from auditor.api.check import check
from auditor.api.run import MAX_FALSE_ALARMS, Options, open_threshold
from auditor.api.scan import scan
from auditor.audio import SAMPLE_RATE_HZ
from auditor.audio.files import hash_file
from auditor.audio.isolated import load_waveform
from auditor.augment.waveform import (
    band_limit,
    change_speed,
    crop,
    plant,
    shift_pitch,
    stretch_time,
)
from auditor.calibration.metrics import wilson_interval
from auditor.errors import AudioError
from auditor.parallel import one_thread
from auditor.records import CheckResult
from auditor.scoring.base import open_scorer
from auditor.training.dataset import group_tracks, read_same_list
from auditor.workspace import Workspace, open_workspace

COPY_S, START_S, HOST_S = 40.0, 15.0, 60.0
Alter = Callable[[np.ndarray, np.ndarray], np.ndarray]


def echoes(waveform: np.ndarray, host: np.ndarray) -> np.ndarray:
    """Slowed to 0.7, with four strong echoes within 0.32 s."""
    slow = change_speed(waveform, 0.7)
    made = slow.copy()
    for delay_s, gain in ((0.08, 0.5), (0.16, 0.4), (0.24, 0.3), (0.32, 0.2)):
        n = round(delay_s * SAMPLE_RATE_HZ)
        made[n:] += gain * slow[:-n]
    return 0.64 * made


def planted(waveform: np.ndarray, host: np.ndarray, *, duration_s: float) -> np.ndarray:
    """Some seconds in the middle of another track."""
    return plant(crop(waveform, start_s=7.3, duration_s=duration_s), host, position_s=25.0)


KINDS: dict[str, tuple[str, Alter]] = {
    **{
        f"pitch{n:+d}": (f"pitch {n:+d}", lambda w, _, n=n: shift_pitch(w, n))
        for n in (6, -6, 9, -9, 12, -12)
    },
    **{
        f"tempo{r}": (f"tempo × {r}", lambda w, _, r=r: stretch_time(w, r))
        for r in (0.5, 0.67, 1.5, 2.0)
    },
    **{
        f"speed{r}": (f"speed × {r}", lambda w, _, r=r: change_speed(w, r))
        for r in (0.5, 0.67, 1.5, 2.0)
    },
    **{
        f"alone{s}": (f"{s} s alone", lambda w, _, s=s: crop(w, start_s=7.3, duration_s=s))
        for s in (5, 3)
    },
    **{f"planted{s}": (f"{s} s planted", partial(planted, duration_s=s)) for s in (5, 3)},
    "highpass": ("nothing below 2 kHz", lambda w, _: band_limit(w, low_hz=2000.0, high_hz=7900.0)),
    "ring": ("ring modulation, 40 Hz", lambda w, _: ring(w, np.random.default_rng(0))),
    "echoes": ("speed × 0.7, strong echoes", echoes),
    "looped": (
        "10 s looped twelve times",
        lambda w, _: np.tile(crop(w, start_s=5.0, duration_s=10.0), 12),
    ),
}
"""What each is called, and what makes it of a waveform and a host at 16 kHz."""


class Music:
    """The files of the catalogue and of a role beside it, and which share material."""

    def __init__(self, corpus: Path, role: str, other: str) -> None:
        self.paths = [str(path) for path in corpus_paths(corpus, role)]
        self.others = [str(path) for path in corpus_paths(corpus, other)]
        names = [*self.paths, *self.others]
        groups = group_tracks(names, [hash_file(n) for n in names], read_same_list(SAME))
        self.group = dict(zip(names, groups, strict=True))


def cpu_s() -> float:
    """Return the processor time of this process and of those that it waited for."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, who))


def long_enough(workspace: Workspace, wanted: int) -> list[str]:
    """Return tracks of which a copy can be made, evenly spread."""
    needed_s = START_S + COPY_S
    tracks = [t for t in workspace.catalogue.tracks() if t.duration_s >= needed_s and not t.silent]
    step = max(1.0, len(tracks) / wanted)
    return [tracks[int(i * step)].path for i in range(min(wanted, len(tracks)))]


def write_copies(kind: str, originals: list[str], music: Music, folder: Path) -> dict[str, str]:
    """Write the copies of an alteration; return the original of each file."""
    of_file = {}
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for row, path in enumerate(originals):
        waveform = load_waveform(path, duration_s=START_S + COPY_S)[
            round(START_S * SAMPLE_RATE_HZ) :
        ]
        host_path = music.others[(7 * row + 3) % len(music.others)]
        host = load_waveform(host_path, duration_s=HOST_S)
        if len(host) < HOST_S * SAMPLE_RATE_HZ:
            host = np.resize(host, round(HOST_S * SAMPLE_RATE_HZ))
        file = folder / f"{row:03d}.wav"
        write_wav(file, KINDS[kind][1](waveform, host))
        of_file[str(file)] = path
    return of_file


def said(result: CheckResult, of_file: dict[str, str], music: Music) -> tuple[list, int]:
    """Return score, verdict and found of each copy, and how many strangers were flagged."""
    by_id = {track.id: track.path for track in (*result.submissions, *result.tracks)}
    found, n_strangers = [], 0
    for track in result.submissions:
        original = of_file[track.path]
        pairs = [pair for pair in result.pairs if pair.a == track.id]
        own = [p for p in pairs if music.group[by_id[p.b]] == music.group[original]]
        best = max(own, key=lambda p: p.score, default=None)
        n_strangers += sum(p.flagged for p in pairs if p not in own)
        found.append(
            (
                best.score if best else -1.0,
                str(best.verdict) if best else "clear",
                any(p.flagged for p in own),
            )
        )
    return found, n_strangers


def measure(
    workspace: Workspace, music: Music, kinds: list[str], n: int, folder: Path
) -> list[dict]:
    """Check the copies of each alteration, as they are and wide."""
    originals = long_enough(workspace, n)
    measured = []
    for kind in kinds:
        kept = folder / f"{kind}.json"
        if not kept.exists():
            copies = write_copies(kind, originals, music, folder / "copies")
            row: dict = {"kind": kind}
            for wide in (False, True):
                before = cpu_s()
                options = Options(wide=wide, compositions=False)
                result = check(workspace, [folder / "copies"], options=options)
                row["wide" if wide else "plain"], n_strangers = said(result, copies, music)
                row["strangers_wide" if wide else "strangers_plain"] = n_strangers
                row["threshold_wide" if wide else "threshold_plain"] = result.threshold.threshold
                row["cpu_wide" if wide else "cpu_plain"] = cpu_s() - before
            kept.write_text(json.dumps(row))
        measured.append(json.loads(kept.read_text()))
        one = measured[-1]
        counts = [sum(found for *_, found in one[way]) for way in ("plain", "wide")]
        print(kind, *counts, "of", len(one["plain"]), file=sys.stderr, flush=True)
    return measured


def render(measured: list[dict]) -> str:
    """Return the table as Markdown."""
    lines = [
        "| copies | by default | with --wide | 95 % | strangers flagged, default, wide |",
        "|---|---|---|---|---|",
    ]
    for one in measured:
        n = len(one["plain"])
        plain, wide = (sum(found for *_, found in one[way]) for way in ("plain", "wide"))
        low, high = wilson_interval(wide, n)
        lines.append(
            f"| {KINDS[one['kind']][0]} | {plain} of {n} | {wide} of {n} | {low:.2f}–{high:.2f} "
            f"| {one['strangers_plain']}, {one['strangers_wide']} |"
        )
    cpu = [sum(one[f"cpu_{way}"] for one in measured) for way in ("plain", "wide")]
    lines += ["", f"Processor time wide, of the time by default: {cpu[1] / cpu[0]:.1f}"]
    return "\n".join(lines)


def check_strangers(workspace: Workspace, music: Music, every: int, folder: Path) -> str:
    """Check the first minute of each track of the other role, and count what is reached."""
    cut = folder / "strangers"
    cut.mkdir(parents=True, exist_ok=True)
    of_file = {}
    for row, path in enumerate(music.others[::every]):
        file = cut / f"{row:04d}.wav"
        try:
            write_wav(file, load_waveform(path, duration_s=HOST_S))
        except AudioError as error:
            print(f"{path}: {error}", file=sys.stderr)
            continue
        of_file[str(file)] = path
    options = Options(threshold=0.3, wide=True, compositions=False)
    result = check(workspace, [cut], options=options)
    by_id = {track.id: track.path for track in (*result.submissions, *result.tracks)}
    scores = [
        (pair.score, of_file[by_id[pair.a]], by_id[pair.b])
        for pair in result.pairs
        if music.group[of_file[by_id[pair.a]]] != music.group[by_id[pair.b]]
    ]
    n = result.threshold.n_comparisons or 0
    calibrated = open_threshold(
        workspace, open_scorer(workspace), Options(max_false=MAX_FALSE_ALARMS)
    ).calibration
    assert calibrated is not None
    lines = [f"{len(result.submissions)} submissions, {n:,} comparisons", ""]
    lines += ["| score | expected | observed |", "|---|---|---|"]
    for score in (0.3, 0.35, 0.4, 0.45, 0.5, 0.55):
        low, high = (rate * n for rate in calibrated.far_at(score)[1:])
        observed = sum(found >= score for found, *_ in scores)
        lines.append(f"| {score} | {low:.2g}–{high:.2g} | {observed} |")
    lines += ["", *(f"* {score:.3f} {a} / {b}" for score, a, b in sorted(scores)[:-9:-1])]
    return "\n".join(lines)


def scan_copies(music: Music, kinds: list[str], every: int, n: int, folder: Path) -> str:
    """Scan a catalogue of tracks and their copies as it is and wide; return the table."""
    library = folder / "library"
    shutil.rmtree(library, ignore_errors=True)
    library.mkdir(parents=True)
    of_file, originals = {}, []
    for row, path in enumerate(music.paths[::every]):
        waveform = load_waveform(path, duration_s=HOST_S)
        of_file[str(library / f"{row:03d}.wav")] = path
        write_wav(library / f"{row:03d}.wav", waveform)
        if len(waveform) >= (START_S + COPY_S) * SAMPLE_RATE_HZ:
            originals.append(path)
    kind_of = {}
    for place, kind in enumerate(kinds):
        chosen = [originals[(place * n + i) % len(originals)] for i in range(n)]
        for file, path in write_copies(kind, chosen, music, folder / "copies").items():
            name = str(library / f"{kind}-{Path(file).name}")
            shutil.move(file, name)
            of_file[name], kind_of[name] = path, kind
    shutil.rmtree(folder / "scanned", ignore_errors=True)
    found: dict[bool, set[str]] = {}
    strangers, cpu, notes = {}, {}, {}
    with open_workspace(folder / "scanned", write=True) as workspace:
        for wide in (False, True):
            before = cpu_s()
            result = scan(workspace, [library], options=Options(wide=wide, compositions=False))
            cpu[wide], notes[wide] = cpu_s() - before, result.threshold.note
            path_of = {track.id: track.path for track in result.tracks}
            flagged = [(path_of[p.a], path_of[p.b]) for p in result.pairs if p.flagged]
            same = [
                pair for pair in flagged if len({music.group[of_file[path]] for path in pair}) == 1
            ]
            strangers[wide] = len(flagged) - len(same)
            found[wide] = {path for pair in same for path in pair}
    lines = ["| copies | scan | scan --wide |", "|---|---|---|"]
    for kind in kinds:
        copies = {path for path, its in kind_of.items() if its == kind}
        counts = [f"{len(copies & found[wide])} of {len(copies)}" for wide in (False, True)]
        lines.append(f"| {KINDS[kind][0]} | {counts[0]} | {counts[1]} |")
    n_heard = len(of_file) - len(found[False])
    lines += [
        f"| strangers flagged | {strangers[False]} | {strangers[True]} |",
        "",
        f"{len(of_file)} tracks; processor time of the scan {cpu[False]:.0f} s, of the wide one "
        f"after it {cpu[True]:.0f} s: {cpu[True] / n_heard:.1f} s for each of about {n_heard} "
        f"tracks heard again. {notes[True]}",
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--role", default="test")
    parser.add_argument("--hosts", default="val", help="the role that excerpts are planted in")
    parser.add_argument("--strangers", help="check the tracks of this role instead of copies")
    parser.add_argument("--scan", action="store_true", help="scan a catalogue that has the copies")
    parser.add_argument("--every", type=int, default=1, help="every n-th track or stranger only")
    parser.add_argument("--copies", type=int, default=16, help="of each alteration")
    parser.add_argument("--kind", action="append", choices=list(KINDS))
    parser.add_argument("--output", type=Path, default=Path("runs/wide"))
    args = parser.parse_args()
    one_thread()
    folder = args.output.absolute() / args.role
    folder.mkdir(parents=True, exist_ok=True)
    if args.scan:
        music = Music(args.corpus, args.role, args.hosts)
        kinds = args.kind or list(KINDS)
        print(scan_copies(music, kinds, args.every, args.copies, folder))
        return 0
    if not (folder / "ws").exists():
        with open_workspace(folder / "ws", write=True) as workspace:
            scan(workspace, [args.corpus / args.role], options=Options(compositions=False))
    music = Music(args.corpus, args.role, args.strangers or args.hosts)
    with open_workspace(folder / "ws") as workspace:
        if args.strangers:
            print(check_strangers(workspace, music, args.every, folder))
        else:
            kinds = args.kind or list(KINDS)
            print(render(measure(workspace, music, kinds, args.copies, folder)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
