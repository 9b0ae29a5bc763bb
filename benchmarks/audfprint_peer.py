"""audfprint as a peer: landmarks, scored by the number of aligned hashes.

The program is run as its users run it, unchanged, with its default density: ``precompute`` for the
hashes of each file (originals once, queries at four shifts of a frame, as ``match`` has it),
``new`` for the database, and ``match`` with exact counts and all matches returned.  It is not on a
package index: clone its repository, and give it a Python with numpy below 1.24, scipy, docopt,
joblib and psutil, and ``ffmpeg`` on the path.

References
----------
Ellis (2014), "The 2014 LabROSA audio fingerprint system"; github dpwe/audfprint, MIT licence.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from copies import ORIGINAL
from evaluation import Scores
from peer_files import add_cost, cpu_s, duration_s, find_files, is_current, place_of

from auditor.errors import UsageError

FILES_AT_ONCE = 60
REFERENCE_SHIFTS, QUERY_SHIFTS = 1, 4
MIN_COUNT = 2
"""Aligned hashes that are listed, 5 by default; pairs with fewer score 0."""

_MATCH = re.compile(r"^Matched (\S+) .* raw hashes as (\S+) at .* with +(\d+) of +\d+ common")


@dataclass(frozen=True)
class Audfprint:
    """Where audfprint lies, and where its files go.

    Attributes
    ----------
    source : pathlib.Path
        Folder with ``audfprint.py``.
    python : str
        Interpreter that has what it needs.
    cache : pathlib.Path
    jobs : int
        Processes.
    """

    source: Path
    python: str
    cache: Path
    jobs: int

    def run(self, *arguments: str) -> str:
        """Run one command in the cache folder and return what it printed.

        Raises
        ------
        UsageError
            If it fails.
        """
        script = str((self.source / "audfprint.py").resolve())
        command = [self.python, script, *arguments, "--ncores", str(self.jobs)]
        done = subprocess.run(command, cwd=self.cache, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise UsageError(
                f"audfprint {arguments[0]} ended with code {done.returncode}: {last}. "
                "It needs numpy below 1.24, scipy, docopt, joblib and psutil, and ffmpeg."
            )
        return done.stdout

    def hash_files(self, paths: list[Path], side: str, shifts: int) -> list[str]:
        """Return the hash file of each WAV file that has any hashes, relative to the cache."""
        folder = paths[0].parent.parent.resolve()
        names = [place_of(path) for path in paths]
        made = [self.cache / side / f"{name}.afpt" for name in names]
        todo = [i for i, out in enumerate(made) if not is_current(out, [paths[i]])]
        for first in range(0, len(todo), FILES_AT_ONCE):
            part = todo[first : first + FILES_AT_ONCE]
            for i in part:
                made[i].unlink(missing_ok=True)
            before = cpu_s()
            self.run(
                *("precompute", "--wavdir", f"{folder}/", "--wavext", ".wav"),
                *("--precompdir", side, "--shifts", str(shifts), "--continue-on-error"),
                *(names[i] for i in part),
            )
            audio_s = sum(duration_s(paths[i]) for i in part)
            add_cost(self.cache, cpu_s() - before, audio_s, side=side)
        return [
            f"{side}/{name}.afpt" for name, out in zip(names, made, strict=True) if out.exists()
        ]

    def build(self, hashes: list[str]) -> Path:
        """Return the database of the originals, built where it is missing or older than they."""
        database = self.cache / "originals.pklz"
        listed = _write_if_changed(self.cache / "originals.list", hashes)
        if not is_current(database, [listed, *(self.cache / name for name in hashes)]):
            self.run("new", "--dbase", database.name, "--list", listed.name)
        return database

    def match(self, kind: str, hashes: list[str], database: Path) -> str:
        """Return what ``match`` says of the copies of one alteration, kept as a file."""
        listed = _write_if_changed(self.cache / f"{kind}.list", hashes)
        said = self.cache / f"{kind}.txt"
        if not is_current(said, [database, listed, *(self.cache / name for name in hashes)]):
            part = said.with_suffix(".part")
            self.run(
                *("match", "--dbase", database.name, "--list", listed.name),
                *("--max-matches", "1000000", "--search-depth", "1000000"),
                *("--min-count", str(MIN_COUNT), "--exact-count", "--opfile", part.name),
            )
            part.replace(said)
        return said.read_text()


def _write_if_changed(path: Path, lines: list[str]) -> Path:
    text = "\n".join(lines) + "\n"
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
    return path


def aligned_counts(said: str, rows: np.ndarray, n_tracks: int) -> np.ndarray:
    """Read the numbers of aligned hashes out of what ``audfprint match`` says.

    Parameters
    ----------
    said : str
        Lines of verbosity 1, files named ``<row>.afpt``; of several alignments the best counts.
    rows : numpy.ndarray
        (n_copies,) int, tracks of the copies.
    n_tracks : int

    Returns
    -------
    numpy.ndarray
        (n_copies, n_tracks) float32; 0 for what is not listed.
    """
    counts = np.zeros((len(rows), n_tracks), dtype=np.float32)
    place = {int(row): i for i, row in enumerate(rows)}
    for line in said.splitlines():
        if found := _MATCH.match(line):
            i, j = place[int(Path(found[1]).stem)], int(Path(found[2]).stem)
            counts[i, j] = max(counts[i, j], int(found[3]))
    return counts


def audfprint_scores(
    folder: Path,
    n_tracks: int,
    *,
    kinds: Iterable[str],
    every: int,
    jobs: int,
    cache: Path,
    source: Path | None,
    python: str = sys.executable,
) -> Scores:
    """Score with audfprint: number of aligned hashes.

    Parameters
    ----------
    source : pathlib.Path or None
        Folder with ``audfprint.py``.
    python : str
        Interpreter that has what it needs.

    Raises
    ------
    UsageError
        If audfprint, its Python or ``ffmpeg`` is missing or fails, or files are missing.
    """
    if source is None or not (source / "audfprint.py").is_file():
        raise UsageError(
            f"no audfprint.py in {source}. Clone dpwe/audfprint from GitHub and give "
            "--audfprint FOLDER and --audfprint-python PYTHON"
        )
    for program in (python, "ffmpeg"):
        if shutil.which(program) is None:
            raise UsageError(f"no {program}. Install it, or give --audfprint-python PYTHON")
    originals, rows = find_files(folder, n_tracks, kinds, every)
    cache.mkdir(parents=True, exist_ok=True)
    # Not resolved: the python of a virtual environment is a link.
    peer = Audfprint(source, str(Path(shutil.which(python)).absolute()), cache, jobs)
    database = peer.build(peer.hash_files(originals, "references", REFERENCE_SHIFTS))

    def score(kind: str, found: np.ndarray) -> np.ndarray:
        paths = [folder / kind / originals[row].name for row in found]
        said = peer.match(kind, peer.hash_files(paths, "queries", QUERY_SHIFTS), database)
        print(f"{kind}: {len(found)} files", file=sys.stderr, flush=True)
        return aligned_counts(said, found, n_tracks)

    copies = {kind: score(kind, found) for kind, found in rows.items()}
    return Scores(score(ORIGINAL, np.arange(n_tracks)), copies, rows)
