"""What ``audit leak`` and ``audit generated`` cost on large collections that are embedded already.

Tracks are simulated as in ``excerpt_pass.py``, each in the folder of its part, and the commands are
run by their code on parts of one workspace: for ``leak`` a training and a test split of 30 s each;
for ``generated`` outputs of 30 s, training music and held-out music of ``--stretches`` times 30 s.
Candidates and their examination cost what they cost in music; what is found does not matter, for a
simulated track has the spectra of others.

Examples
--------
::

    python benchmarks/collections_scale.py leak corpus/train --parts 10000 2000
    python benchmarks/collections_scale.py generated corpus/train --parts 1000 8000 2000
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

from excerpt_pass import store, stretches

from auditor.api.generated import GeneratedOptions, find_repeats
from auditor.api.leak import find_leaks
from auditor.embedding.extractor import load_extractor
from auditor.ingest.splits import name_splits
from auditor.parallel import LocalTiles, one_thread
from auditor.scoring.track_reader import CatalogueReader
from auditor.workspace import open_workspace

PARTS = {"leak": ("train", "test"), "generated": ("outputs", "training", "heldout")}


class Costs:
    """What a run has cost so far; says it now and then."""

    def __init__(self) -> None:
        self._started = self._said = time.monotonic()
        self._cpu_s = time.process_time()

    def now(self) -> dict[str, int]:
        """Return seconds, CPU seconds and peak memory of this process."""
        return {
            "seconds": round(time.monotonic() - self._started),
            "cpu_s": round(time.process_time() - self._cpu_s),
            "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        }

    def progress(self, what: str) -> Callable[[int, int], None]:
        """Return what says how many of something are done, at most once in 30 s."""

        def say(done: int, total: int) -> None:
            if done in (0, total) or time.monotonic() - self._said > 30.0:
                self._said = time.monotonic()
                print(json.dumps({what: [done, total]} | self.now()), file=sys.stderr, flush=True)

        return say


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=sorted(PARTS))
    parser.add_argument("music", type=Path)
    parser.add_argument("--parts", type=int, nargs="+", required=True, help="tracks of each part")
    parser.add_argument("--stretches", type=int, default=1, help="of 30 s in each track")
    parser.add_argument("--jobs", type=int, default=1, help="with 1, all costs are of one process")
    parser.add_argument("--output", type=Path, default=Path("runs/collections-scale"))
    args = parser.parse_args()
    one_thread()
    names: tuple[str, ...] = PARTS[args.command]
    if len(args.parts) != len(names):
        parser.error(f"--parts needs {len(names)} numbers: {', '.join(names)}")
    folder = args.output / f"{args.command}-{'-'.join(map(str, args.parts))}-{args.stretches}"
    extractor = load_extractor("excerpt")
    with open_workspace(folder, extractor="excerpt", write=True) as workspace:
        real = stretches(
            args.music, args.output / f"stretches-{extractor.weights_id}.npz", extractor
        )
        n_tracks = 0
        for name, n in zip(names, args.parts, strict=True):
            n_tracks += n
            n_stretches = 1 if name == "outputs" else args.stretches
            place = (folder / "music" / name).resolve()
            place.mkdir(parents=True, exist_ok=True)
            for row in range(n_tracks - n, n_tracks):
                (place / f"{row:08d}.mp3").touch()  # a file that is gone would not be compared
            store(workspace, real, n_tracks, n_stretches, folder=str(place))
        CatalogueReader.of(workspace).excerpts()
    costs = Costs()
    collections = [f"{folder}@folder={(folder / 'music' / name).resolve()}" for name in names]
    with open_workspace(folder, write=True) as workspace, LocalTiles(args.jobs) as tiles:
        if args.command == "leak":
            result = find_leaks(
                workspace,
                name_splits(*collections),
                tiles=tiles,
                on_pair=costs.progress("candidates"),
            )
        else:
            result = find_repeats(
                workspace,
                *collections,
                counting=GeneratedOptions(power=False),
                tiles=tiles,
                on_output=costs.progress("outputs"),
                on_pair=costs.progress("shared recordings"),
            )
    found = {
        "parts": dict(zip(names, args.parts, strict=True)),
        "track_s": 30 * args.stretches,
        "n_comparisons": result.threshold.n_comparisons,
        "n_examined": result.n_pairs_compared,
        "n_flagged": sum(pair.flagged for pair in result.pairs),
    }
    print(json.dumps(found | costs.now()), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
