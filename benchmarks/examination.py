"""What examining a candidate pair costs, and whether another version of the code finds the same.

The candidates are those of a scan of a workspace, or of its tracks cut into stretches of 30 s
(``--stretches``, kept beside the workspace).  Pairs that reach no threshold are told from the
others, by what is found; of each kind, ``--pairs`` are examined several times by a reader that
was opened anew, and the least CPU time of each 50 counts, since other work slows a run down.
``--cold`` keeps no spectra from pair to pair, as in a catalogue that is larger than what is kept.

Examples
--------
::

    audit scan corpus/val --workspace runs/val
    python benchmarks/examination.py runs/val --stretches --save before.json
    python benchmarks/examination.py runs/val --stretches --compare before.json
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from auditor.catalogue.catalogue import FileStamp
from auditor.embedding.config import SPECTRUM
from auditor.embedding.pooling import audible_windows, pool_dvectors
from auditor.evidence.match_score import LOWEST_THRESHOLD
from auditor.parallel import LocalTiles
from auditor.records import Track
from auditor.scoring import track_reader
from auditor.scoring.base import ScoredPair
from auditor.scoring.candidates import distinct_pairs, voted_pairs, with_rows
from auditor.scoring.examine import Candidate, Limits, examine_pairs
from auditor.scoring.match import N_EXCERPT, N_NEAREST
from auditor.scoring.track_reader import CatalogueReader
from auditor.search.all_pairs import nearest_rows
from auditor.serialisation import to_json
from auditor.workspace import Workspace, open_workspace

STRETCH_S, EVERY_S, MAX_STRETCHES = 30.0, 57.6, 4
MIN_AUDIBLE = 0.8
TILE_PAIRS = 50
SEED = 20_261_130


def cut_stretches(workspace: Workspace, folder: Path) -> None:
    """Store stretches of all tracks as tracks of another workspace, unless it is there."""
    if (folder / "catalogue.sqlite3").exists():
        return
    reader = CatalogueReader.of(workspace)
    n_windows = round((STRETCH_S - workspace.window_s) / workspace.hop_s) + 1
    n_frames = round(STRETCH_S / SPECTRUM.frame_hop_s)
    with open_workspace(folder, extractor=workspace.extractor.name, write=True) as cut:
        for track_id in reader.tracks()[0]:
            dvectors, levels = reader.dvectors(track_id)
            spectrum = reader.spectrum(track_id)
            for n in range(MAX_STRETCHES if spectrum is not None else 0):
                first = round(n * EVERY_S / workspace.hop_s)
                windows = slice(first, first + n_windows)
                frame = round(first * workspace.hop_s / SPECTRUM.frame_hop_s)
                frames = spectrum[frame : frame + n_frames]
                audible = audible_windows(levels[windows]).sum() if len(levels[windows]) else 0
                if len(frames) < n_frames or audible < MIN_AUDIBLE * n_windows:
                    break
                name = f"{track_id}-{n}"
                sha256 = hashlib.sha256(name.encode()).hexdigest()
                track = Track(
                    name, f"/stretches/{name}.mp3", sha256, 1, STRETCH_S, None, False, False,
                    "mp3", "mp3", 44_100, 2, None,
                )  # fmt: skip
                embedding = pool_dvectors(dvectors[windows].astype(np.float32), levels[windows])
                cut.catalogue.put(
                    track,
                    path_bytes=track.path.encode(),
                    stamp=FileStamp(1, 1),
                    embeddings={cut.weights_id: embedding},
                    spectrum=frames,
                )


def candidates(workspace: Workspace) -> list[Candidate]:
    """Return the candidate pairs of a scan."""
    reader, tiles = CatalogueReader.of(workspace), LocalTiles(1)
    ids, _ = reader.tracks()
    reader.excerpts()
    near = nearest_rows(tiles, reader, len(ids), top=min(N_NEAREST + 1, len(ids)))
    voted = voted_pairs(tiles, reader, len(ids), top=N_EXCERPT)
    rows = distinct_pairs(len(ids), with_rows(near), voted)
    return [(ids[a], ids[b], 0.0) for a, b in rows.tolist()]


def examine(
    workspace: Workspace, pairs: Sequence[Candidate]
) -> tuple[list[ScoredPair], list[float]]:
    """Return what is found of pairs, and the CPU seconds of each part of them."""
    reader = CatalogueReader.of(workspace)
    found: list[ScoredPair] = []
    seconds = []
    for start in range(0, len(pairs), TILE_PAIRS):
        part = pairs[start : start + TILE_PAIRS]
        started = time.process_time()
        examined = examine_pairs(part, reader.side, reader.examiner, limits=Limits(-2.0))
        seconds.append(time.process_time() - started)
        found += sorted(examined.pairs, key=lambda pair: (pair.a, pair.b))
    return found, seconds


def numbers(value: object) -> Iterator[float]:
    """Yield all numbers of a JSON value, NaN for null."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from numbers(item)
    elif not isinstance(value, str):
        yield math.nan if value is None else float(value)  # type: ignore[arg-type]


def compare(found: dict[str, object], before: dict[str, object]) -> None:
    """Print how many pairs are equal to the bit, and the largest difference of the others."""
    both = sorted(found.keys() & before.keys())
    differing = [key for key in both if found[key] != before[key]]
    print(f"{len(both):,} pairs in both, {len(both) - len(differing):,} equal to the bit")
    for key in differing:
        new, old = (np.array(list(numbers(values[key]))) for values in (found, before))
        far = "another number of ranges"
        if len(new) == len(old) and np.array_equal(np.isnan(new), np.isnan(old)):
            far = f"differs by {np.nanmax(np.abs(new - old)):.1e} at most"
        print(f"{key}: {far}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--stretches", action="store_true", help="of 30 s in place of tracks")
    parser.add_argument("--pairs", type=int, default=1000, help="of each kind at most")
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--cold", action="store_true", help="keep no spectra from pair to pair")
    parser.add_argument("--save", type=Path, help="write what is found to a file")
    parser.add_argument("--compare", type=Path, help="compare with what was found before")
    args = parser.parse_args()
    if args.cold:
        track_reader.N_SPECTRA = 2
        track_reader.SPECTRA_BYTES = 0
    folder = args.workspace
    if args.stretches:
        folder = folder.with_name(folder.name + "-stretches")
        with open_workspace(args.workspace, extractor="excerpt", write=False) as workspace:
            cut_stretches(workspace, folder)
    results: dict[str, object] = {}
    with open_workspace(folder, extractor="excerpt", write=True) as workspace, threadpool_limits(1):
        proposed = candidates(workspace)
        scores = {(p.a, p.b): p.score for p in examine(workspace, proposed)[0]}
        print("| pairs | of them examined | CPU ms a pair |\n|---|---|---|")
        for kind, below in (("below every threshold", True), ("from the lowest one on", False)):
            pairs = [p for p in proposed if (scores[p[:2]] < LOWEST_THRESHOLD) == below]
            drawn = np.random.default_rng(SEED).permutation(len(pairs))[: args.pairs]
            chosen = [pairs[n] for n in sorted(drawn.tolist())]
            least = np.full(-(-len(chosen) // TILE_PAIRS), np.inf)
            for _ in range(args.passes):
                found, seconds = examine(workspace, chosen)
                least = np.minimum(least, seconds)
            results |= {f"{p.a} {p.b}": to_json(p) for p in found}
            ms = 1e3 * least.sum() / max(len(chosen), 1)
            print(f"| {kind} | {len(chosen):,} of {len(pairs):,} | {ms:.2f} |", flush=True)
    if args.save:
        args.save.write_text(json.dumps(results), encoding="utf-8")
    if args.compare:
        # As JSON, as what was saved.
        compare(json.loads(json.dumps(results)), json.loads(args.compare.read_text("utf-8")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
