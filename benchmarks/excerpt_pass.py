"""What the excerpt pass of a whole scan costs: every track asks the index, candidates are aligned.

Tracks of 30 s are simulated, or longer ones (``--stretches``): stretches of real music, the
d-vectors of each track reflected along a random half of the main axes of all music, all but the
first of them.  A reflection keeps how a track resembles itself and how all tracks together are
spread, and leaves no two tracks of one stretch alike; spectra stay those of the stretches.  Asking
and examining are the functions of a scan, spread over processes by ranges of tracks and of
candidate pairs.

Examples
--------
::

    python benchmarks/excerpt_pass.py corpus/train --tracks 8000
    python benchmarks/excerpt_pass.py corpus/train --tracks 100000 --asking 4000
    python benchmarks/excerpt_pass.py corpus/train --tracks 10000 --stretches 8 --asking 100 \\
        --output runs/excerpt-pass-240s
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from auditor.catalogue.catalogue import FileStamp
from auditor.embedding.config import SPECTRUM
from auditor.embedding.embed import embed_waveform
from auditor.embedding.extractor import Extractor, load_extractor
from auditor.embedding.pooling import audible_windows, pool_dvectors
from auditor.embedding.spectrogram import waveform_spectrum
from auditor.errors import AudioError
from auditor.records import Track
from auditor.scoring.examine import Limits, examine_pairs
from auditor.scoring.track_reader import CatalogueReader, open_catalogue_reader
from auditor.search.excerpts.build import refresh_excerpts
from auditor.search.excerpts.index import ExcerptSearch, ExcerptSource, excerpt_pairs
from auditor.workspace import Workspace, open_workspace

N_WINDOWS, TRACK_S = 38, 30.0
STEP_WINDOWS = 36
MAX_S = 90.0
N_CANDIDATES = 10
"""Of each track, as in a scan (``matching.N_EXCERPT``)."""


def stretches(folder: Path, cache: Path, extractor: Extractor) -> dict[str, np.ndarray]:
    """Return d-vectors, levels and spectra of 30 s stretches of real music, kept in the cache."""
    from auditor.audio.files import find_audio
    from auditor.audio.isolated import load_waveform

    if not cache.exists():
        n_frames = round(TRACK_S / SPECTRUM.frame_hop_s)
        found: list[tuple[np.ndarray, ...]] = []
        for file in find_audio([folder]).files:
            try:
                waveform = load_waveform(Path(os.fsdecode(file.path)), duration_s=MAX_S)
                made = embed_waveform(waveform, [extractor])[extractor.weights_id]
            except AudioError as error:
                print(error, file=sys.stderr)
                continue
            spectrum = waveform_spectrum(waveform)
            for n in range(3):
                windows = slice(STEP_WINDOWS * n, STEP_WINDOWS * n + N_WINDOWS)
                frames = spectrum[n_frames * n :][:n_frames]
                audible = audible_windows(made.levels[windows]).sum()
                whole = len(made.levels[windows]) == N_WINDOWS and len(frames) == n_frames
                if whole and audible >= 0.8 * N_WINDOWS:
                    found.append((made.dvectors[windows], made.levels[windows], frames))
        columns = zip(("dvectors", "levels", "spectra"), zip(*found, strict=True), strict=True)
        cache.parent.mkdir(parents=True, exist_ok=True)
        np.savez(cache, **{name: np.stack(values) for name, values in columns})
    with np.load(cache, allow_pickle=False) as stored:
        return dict(stored)


def store(
    workspace: Workspace,
    real: dict[str, np.ndarray],
    n_tracks: int,
    n_stretches: int,
    *,
    folder: str = "/simulated",
) -> None:
    """Store simulated tracks of so many stretches that are not there yet."""
    rows = real["dvectors"].reshape(-1, real["dvectors"].shape[-1]).astype(np.float32)
    axes = np.linalg.eigh(rows.T.astype(np.float64) @ rows)[1][:, ::-1].astype(np.float32)
    for n in range(len(workspace.catalogue.tracks()), n_tracks):
        rng = np.random.default_rng([7, n])
        taken = rng.integers(len(real["levels"]), size=n_stretches)
        signs = rng.choice(np.float32([-1.0, 1.0]), len(axes))
        signs[0] = 1.0
        dvectors = np.concatenate(real["dvectors"][taken]).astype(np.float32)
        dvectors = dvectors @ axes * signs @ axes.T
        dvectors /= np.maximum(np.linalg.norm(dvectors, axis=1, keepdims=True), 1e-6)
        name = f"{n:08d}"
        track = Track(
            name, f"{folder}/{name}.mp3", hashlib.sha256(name.encode()).hexdigest(), 1,
            TRACK_S * n_stretches, None, False, False, "mp3", "mp3", 44_100, 2, None,
        )  # fmt: skip
        workspace.catalogue.put(
            track,
            path_bytes=track.path.encode(),
            stamp=FileStamp(1, 1),
            embeddings={
                workspace.weights_id: pool_dvectors(dvectors, np.concatenate(real["levels"][taken]))
            },
            spectrum=np.concatenate(real["spectra"][taken]),
        )


def ask(reader: CatalogueReader, ids: Sequence[str]) -> tuple[list[tuple[str, str, float]], float]:
    """Return the candidate pairs of some tracks, and CPU seconds."""
    index, source = reader.excerpts()
    started = time.process_time()
    found = excerpt_pairs(index, source, ids=ids, search=ExcerptSearch(top=N_CANDIDATES))
    name = index.tracks.id_of
    pairs = [
        (name(a), name(b), 0.0)
        for a, b in zip(found.rows_a.tolist(), found.rows_b.tolist(), strict=True)
    ]
    return pairs, time.process_time() - started


def examine(reader: CatalogueReader, pairs: Sequence[tuple]) -> tuple[int, int, float]:
    """Return the pairs worth a look at their spectra, those shown, and CPU seconds."""
    started = time.process_time()
    found = examine_pairs(pairs, reader.side, reader.examiner, limits=Limits(similar_from=2.0))
    n_shown = sum(bool(pair.evidence.ranges) for pair in found.pairs)
    return len(found.pairs), n_shown, time.process_time() - started


def work(where: tuple, task: Callable, part: Sequence) -> tuple:
    return task(open_catalogue_reader(*where), part)


def parts_of(items: Sequence, size: int) -> list[Sequence]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("music", type=Path)
    parser.add_argument("--tracks", type=int, nargs="+", default=[8000])
    parser.add_argument("--asking", type=int, help="ask for so many tracks only")
    parser.add_argument("--stretches", type=int, default=1, help="of 30 s in each track")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("runs/excerpt-pass"))
    args = parser.parse_args()
    extractor = load_extractor("excerpt")
    print(
        "| tracks | rows | index MB | build CPU s | asking | ms a track | pairs a track | "
        "ms a pair | spectra | shown | CPU ms a track | wall s |\n" + "|---" * 12 + "|"
    )
    for n_tracks in args.tracks:
        folder = args.output / str(n_tracks)
        with open_workspace(folder, extractor="excerpt", write=True) as workspace:
            cache = args.output / f"stretches-{extractor.weights_id}.npz"
            real = stretches(args.music, cache, extractor)
            store(workspace, real, n_tracks, args.stretches)
            source = ExcerptSource.of(workspace.catalogue, workspace.weights_id)
            started = time.process_time()
            shards = workspace.index_directory / "excerpts"
            index = refresh_excerpts(shards, source, hop_s=workspace.hop_s).index
            build_s = time.process_time() - started
            where = (str(folder), workspace.weights_id, workspace.hop_s, workspace.window_s)
        size = sum(file.stat().st_size for file in shards.iterdir()) / 1e6
        ids = index.ids[:: max(1, len(index.ids) // (args.asking or len(index.ids)))]
        started = time.perf_counter()
        with ProcessPoolExecutor(args.jobs) as workers:
            spread = itertools.repeat
            asked = list(workers.map(work, spread(where), spread(ask), parts_of(ids, 64)))
            pairs = sorted({pair for found, _ in asked for pair in found})
            examined = list(workers.map(work, spread(where), spread(examine), parts_of(pairs, 256)))
        wall_s = time.perf_counter() - started
        ask_ms = 1e3 * sum(s for _, s in asked) / len(ids)
        pair_ms = 1e3 * sum(s for *_, s in examined) / len(pairs)
        heard = sum(n for n, _, _ in examined) / len(pairs)
        shown = sum(n for _, n, _ in examined) / len(pairs)
        print(
            f"| {n_tracks:,} | {sum(index.n_current_rows):,} | {size:.0f} | {build_s:.1f} | "
            f"{len(ids):,} | {ask_ms:.2f} | {len(pairs) / len(ids):.2f} | {pair_ms:.2f} | "
            f"{heard:.2%} | {shown:.2%} | {ask_ms + pair_ms * len(pairs) / len(ids):.1f} | "
            f"{wall_s:.0f} |",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
