"""What the excerpt index costs, and how often the original is among its candidates.

The catalogue is the original tracks of a folder made by ``benchmarks/copies.py``, other real music
beside it, and simulated tracks up to the hours asked for: the d-vectors of two real tracks, both
reversed in time and one of them turned, mixed half and half, so that they keep the distribution and
the course of music and share no line with what they are made of.  Altered copies then ask the
index, and the rank of their original among the candidates is counted; the host of a planted or
mixed copy is taken out.  Times are CPU seconds of one thread, which a busy machine does not change.

Examples
--------
::

    python benchmarks/copies.py corpus --role val --every 3
    python benchmarks/excerpt_index.py corpus/train --hours 100 --grid
    python benchmarks/excerpt_index.py corpus/train --hours 1000
    python benchmarks/excerpt_index.py corpus/train --hours 1000 --backend faiss --search-k 16 64
"""

from __future__ import annotations

import argparse
import itertools
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from copies import ORIGINAL, other_row

from auditor.augment.alterations import ALTERATIONS
from auditor.calibration.metrics import wilson_interval
from auditor.search.excerpts.backends.annoy import BACKENDS, ExcerptConfig
from auditor.search.excerpts.build import refresh_excerpts
from auditor.search.excerpts.index import ExcerptIndex, ExcerptSearch, ExcerptSource

Dvectors = tuple[np.ndarray, np.ndarray]

KINDS = ("planted", "crop10", "mix", "voice", "noise0", "babble5", "pitch+4", "speed+25")
RANKS = (1, 5, 10, 20, 50)
MAX_S = 90.0
MIXED_DEGREES = 45.0
"""Angle from a simulated track to either of the two it is made of."""


@dataclass(frozen=True)
class Setting:
    """One way to index and to ask."""

    config: ExcerptConfig
    search: ExcerptSearch


def embed(cache: Path, name: str, files: Iterable[tuple[int, Path]], extractor) -> dict:
    """Return the d-vectors and levels of files by their number, kept in the cache."""
    path = cache / f"{name}.npz"
    if not path.exists():
        from auditor.audio.isolated import load_waveform
        from auditor.embedding.embed import embed_waveform
        from auditor.errors import AudioError

        rows, dvectors, levels = [], [], []
        for row, file in files:
            try:
                made = embed_waveform(load_waveform(file, duration_s=MAX_S), [extractor])
            except AudioError as error:
                print(f"{file}: {error}", file=sys.stderr)
                continue
            rows.append(row)
            dvectors.append(made[extractor.weights_id].dvectors)
            levels.append(made[extractor.weights_id].levels)
        part = path.with_suffix(".part.npz")
        np.savez(
            part,
            rows=np.array(rows),
            lengths=np.array([len(d) for d in dvectors]),
            dvectors=np.concatenate(dvectors),
            levels=np.concatenate(levels),
        )
        part.replace(path)
        print(f"embedded {name}", file=sys.stderr)
    with np.load(path, allow_pickle=False) as stored:
        ends = np.cumsum(stored["lengths"])[:-1]
        parts = (np.split(stored[key], ends) for key in ("dvectors", "levels"))
        return {
            int(r): made for r, made in zip(stored["rows"], zip(*parts, strict=True), strict=True)
        }


def simulate(real: list[Dvectors], number: int, seed: int) -> Dvectors:
    """Return a track made of two real ones; see the module."""
    rng = np.random.default_rng([seed, number])
    first, second = (real[i] for i in rng.choice(len(real), 2, replace=False))
    rows = first[0][::-1].astype(np.float32)
    turned = np.roll(second[0][::-1], rng.integers(len(second[0])), axis=0)
    turned = np.resize(turned, rows.shape)
    angle = np.radians(MIXED_DEGREES)
    rows = np.cos(angle) * rows + np.sin(angle) * turned
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
    return rows.astype(np.float16), first[1][::-1]


def make_source(
    weights_id: str,
    originals: dict[int, Dvectors],
    others: list[Dvectors],
    n_windows: int,
    spent: dict[str, float],
) -> ExcerptSource:
    """Return originals (``v...``), other music (``r...``) and simulated tracks (``s...``).

    What simulating costs is added to ``spent``; it is no part of building.
    """
    tracks = {f"v{row:04}": made for row, made in originals.items()}
    tracks |= {f"r{row:06}": made for row, made in enumerate(others)}
    real = list(tracks.values())
    n_real = sum(len(rows) for rows, _ in real)
    per_track = n_real / len(real)
    n_simulated = max(0, round((n_windows - n_real) / per_track))

    def read(track_id: str) -> Dvectors:
        if track_id[0] != "s":
            return tracks[track_id]
        started = time.process_time()
        made = simulate(real, int(track_id[1:]), seed=0)
        spent["simulating"] += time.process_time() - started
        return made

    ids = [*tracks, *(f"s{i:08}" for i in range(n_simulated))]
    return ExcerptSource(weights_id, real[0][0].shape[1], dict.fromkeys(ids, 0), read)


def ranks(
    index: ExcerptIndex, copies: dict[int, Dvectors], kind: str, n: int, search: ExcerptSearch
) -> tuple[np.ndarray, float, int]:
    """Return the rank of each original (large when it is none), CPU seconds, windows asked."""
    found, n_asked = [], 0
    started = time.process_time()
    for row, (dvectors, levels) in copies.items():
        host = f"v{other_row(row, n):04}" if ALTERATIONS[kind].needs_other else None
        names = [
            c.track_id
            for c in index.candidates(dvectors, levels=levels, search=search, exclude=host)
        ]
        own = f"v{row:04}"
        found.append(names.index(own) if own in names else 10**6)
        n_asked += -(-len(dvectors) // search.query_step)
    return np.array(found), time.process_time() - started, n_asked


def settings(grid: bool, search_ks: Sequence[int], backend: str) -> list[Setting]:
    """Return the default with some numbers of nodes, or with one thing varied at a time."""
    base = Setting(ExcerptConfig(backend=backend), ExcerptSearch(top=max(RANKS)))
    if not grid:
        searches = [replace(base.search, search_k=k) for k in search_ks]
        searches.append(replace(base.search, query_step=2))
        return [replace(base, search=s) for s in searches]
    configs = [{}, {"step": 1}, {"step": 4}, {"n_axes": 16}, {"n_axes": 64}, {"n_axes": 128}]
    configs += [{"n_trees": 4}, {"n_trees": 20}, {"repeat_cosine": 2.0}]
    made = [Setting(replace(base.config, **c), base.search) for c in configs]
    searches = [{"search_k": 300}, {"search_k": 4000}, {"per_window": 10}, {"per_window": 50}]
    searches += [{"query_step": 2}, {"query_step": 4}]
    return made[:1] + [replace(base, search=replace(base.search, **s)) for s in searches] + made[1:]


def words(setting: Setting) -> str:
    """Return a setting in short."""
    c, s = setting.config, setting.search
    repeats = "" if c.repeat_cosine <= 1 else ", all repeats"
    return (
        f"{c.backend}, step {c.step}, {c.n_axes} axes, {c.n_trees} trees{repeats}; "
        f"{s.per_window} hits, every {s.query_step}., k {s.search_k}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("distractors", type=Path, help="a folder of other music")
    parser.add_argument("--copies", type=Path, default=Path("runs/copies/val-90s"))
    parser.add_argument("--extractor", default="excerpt")
    parser.add_argument("--hours", type=float, nargs="+", default=[100.0])
    parser.add_argument("--kind", action="append", choices=sorted(ALTERATIONS))
    parser.add_argument("--grid", action="store_true", help="vary step, axes, trees, search")
    parser.add_argument("--search-k", type=int, nargs="+", default=[300, 1000, 3000])
    parser.add_argument("--backend", choices=sorted(BACKENDS), default="annoy")
    parser.add_argument("--cache", type=Path, default=Path("runs/excerpt_index"))
    args = parser.parse_args()

    from auditor.audio.files import find_audio
    from auditor.embedding.extractor import load_extractor
    from auditor.parallel import one_thread

    one_thread()
    extractor = load_extractor(args.extractor)
    hop_s = extractor.config.hop_s
    cache = args.cache / extractor.weights_id
    cache.mkdir(parents=True, exist_ok=True)

    def copies_of(kind: str) -> dict[int, Dvectors]:
        files = ((int(path.stem), path) for path in sorted((args.copies / kind).glob("*.wav")))
        return embed(cache, kind, files, extractor)

    originals = copies_of(ORIGINAL)
    copies = {kind: copies_of(kind) for kind in args.kind or KINDS}
    music = enumerate(Path(os.fsdecode(f.path)) for f in find_audio([args.distractors]).files)
    others = list(embed(cache, args.distractors.name, music, extractor).values())
    print("| hours | setting | kind | copies | " + " | ".join(f"top {r}" for r in RANKS) + " |")
    for hours in args.hours:
        spent = {"simulating": 0.0}
        n_windows = round(hours * 3600.0 / hop_s)
        source = make_source(extractor.weights_id, originals, others, n_windows, spent)
        for config, group in itertools.groupby(
            settings(args.grid, args.search_k, args.backend), key=lambda s: s.config
        ):
            with tempfile.TemporaryDirectory(dir=cache) as folder:
                started = time.process_time() - spent["simulating"]
                index = refresh_excerpts(folder, source, hop_s=hop_s, config=config).index
                build_s = time.process_time() - spent["simulating"] - started
                n_rows = sum(index.n_current_rows)
                size = sum(file.stat().st_size for file in Path(folder).iterdir())
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
                print(
                    f"# {config.backend}, {hours:g} h, {len(source.versions):,} tracks, "
                    f"step {config.step}, "
                    f"{config.n_axes} axes, {config.n_trees} trees: {n_rows:,} rows in "
                    f"{len(index.shards)} shards, build {build_s:.1f} CPU s, {size / 1e6:.0f} MB "
                    f"({size / max(n_rows, 1):.0f} B a row), peak {peak:.0f} MB",
                    flush=True,
                )
                for setting in group:
                    rows, cpu_s, n_asked = [], 0.0, 0
                    for kind, given in copies.items():
                        rank, s, n = ranks(index, given, kind, len(originals), setting.search)
                        cpu_s, n_asked = cpu_s + s, n_asked + n
                        rows.append(rank)
                        print(line(hours, setting, kind, rank), flush=True)
                    print(line(hours, setting, "all", np.concatenate(rows)))
                    print(f"# {cpu_s / n_asked * 1e3:.3f} CPU ms a window asked", flush=True)
    return 0


def line(hours: float, setting: Setting, kind: str, rank: np.ndarray) -> str:
    """Return a row of the table: the share of originals within each rank, with its interval."""
    cells = []
    for r in RANKS:
        n = int((rank < r).sum())
        low, high = wilson_interval(n, len(rank))
        cells.append(f"{n / len(rank):.3f} ({low:.2f}–{high:.2f})")
    return f"| {hours:g} | {words(setting)} | {kind} | {len(rank)} | " + " | ".join(cells) + " |"


if __name__ == "__main__":
    sys.exit(main())
