"""How long a check takes against a large catalogue, after embedding, stage by stage.

The catalogue is one that ``excerpt_pass.py`` made; submissions are the first four minutes of files
of a folder, embedded before the clock starts.  Every check opens catalogue and index anew, as the
command does, its files being in the machine's cache.

Examples
--------
::

    python benchmarks/excerpt_pass.py corpus/train --tracks 100000 --asking 100
    python benchmarks/check_latency.py runs/excerpt-pass/100000 corpus/val
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import time
from pathlib import Path

import numpy as np

from auditor.audio.files import find_audio
from auditor.audio.isolated import load_waveform
from auditor.catalogue.catalogue import Catalogue
from auditor.embedding.embed import embed_waveform
from auditor.embedding.spectrogram import waveform_spectrum
from auditor.errors import AudioError
from auditor.evidence.spectra.confirm import confirm
from auditor.evidence.spectra.lines import TrackSpectrum
from auditor.ingest.submissions import Submission
from auditor.records import Track
from auditor.scoring.match import N_NEAREST, examine_submissions, n_checked
from auditor.scoring.track_reader import CatalogueReader
from auditor.search.exact import nearest
from auditor.search.excerpts.build import refresh_excerpts
from auditor.search.excerpts.index import ExcerptSearch, ExcerptSource
from auditor.workspace import Workspace, open_workspace

LENGTH_S = 240.0


def submissions(folder: Path, workspace: Workspace, n: int) -> list[Submission]:
    """Return the first files of a folder that are long enough, embedded."""
    made: list[Submission] = []
    for file in find_audio([folder]).files:
        if len(made) == n:
            break
        try:
            waveform = load_waveform(Path(os.fsdecode(file.path)), duration_s=LENGTH_S)
        except AudioError:
            continue
        if len(waveform) < 16_000 * LENGTH_S:
            continue
        found = embed_waveform(waveform, [workspace.extractor])[workspace.weights_id]
        track = Track(
            f"new-{len(made)}", "/new.flac", "0" * 64, 1, LENGTH_S, None, False, False,
            "flac", "flac", 44_100, 2, None,
        )  # fmt: skip
        spectrum = waveform_spectrum(waveform)
        made.append(Submission(b"", track, found.embedding, found.dvectors, found.levels, spectrum))
    return made


def check(workspace: Workspace, query: Submission) -> tuple[float, float, int]:
    """Return wall and CPU seconds of a whole check, and the candidates examined."""
    wall, cpu = time.perf_counter(), time.process_time()
    with Catalogue.open(workspace.catalogue.path, read_only=True) as catalogue:
        table = catalogue.table(workspace.weights_id)
        opened = dataclasses.replace(workspace, catalogue=catalogue)
        found = examine_submissions(CatalogueReader.of(opened, table=table), [query])
    return time.perf_counter() - wall, time.process_time() - cpu, found.n_compared


def stages(workspace: Workspace, query: Submission) -> dict[str, float]:
    """Return the wall seconds of the stages, each timed by itself."""
    spent: dict[str, float] = {}
    last = time.perf_counter()

    def lap(stage: str) -> None:
        nonlocal last
        now = time.perf_counter()
        spent[stage], last = now - last, now

    with Catalogue.open(workspace.catalogue.path, read_only=True) as catalogue:
        table = catalogue.table(workspace.weights_id)
        lap("open the catalogue, map its table")
        reader = CatalogueReader.of(
            dataclasses.replace(workspace, catalogue=catalogue), table=table
        )
        index, _ = reader.excerpts()
        lap("open the excerpt index")
        near, _ = nearest(query.embedding[None], table.embeddings, N_NEAREST + 1)
        lap("nearest embeddings")
        asked = {}
        for step in (1, 2):
            search = ExcerptSearch(top=n_checked(LENGTH_S), query_step=step)
            asked[step] = index.candidates(query.dvectors, levels=query.levels, search=search)
            lap(f"candidates by excerpt, query step {step}")
        names = {table.tracks.id_of(row) for row in near[0, :N_NEAREST].tolist()}
        names |= {found.track_id for found in asked[1]}
        examiner = reader.examiner
        own = examiner.prepare(query.dvectors, query.levels, LENGTH_S)
        found = [(name, examiner.evidence(own, examiner.track(name))) for name in sorted(names)]
        lap("alignment")
        spectrum = TrackSpectrum(query.spectrum, LENGTH_S)
        for name, evidence in found:
            frames = reader.spectrum(name)
            if frames is not None:
                of_track = TrackSpectrum(frames, reader.content(name).duration_s)
                confirm(evidence, spectrum, of_track)
        lap("spectra")
    return spent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workspace", type=Path)
    parser.add_argument("music", type=Path)
    parser.add_argument("--queries", type=int, default=12)
    args = parser.parse_args()
    with open_workspace(args.workspace, extractor="excerpt", write=True) as workspace:
        source = ExcerptSource.of(workspace.catalogue, workspace.weights_id)  # leaves the table
        folder = workspace.index_directory / "excerpts"
        index = refresh_excerpts(folder, source, hop_s=workspace.hop_s).index
        n_rows, n_tracks = sum(index.n_current_rows), len(source.versions)
    with open_workspace(args.workspace, extractor="excerpt", write=False) as workspace:
        queries = submissions(args.music, workspace, args.queries)
        whole = [check(workspace, query) for query in queries]  # before the pages are warm
        parts = [stages(workspace, query) for query in queries]
    wall, cpu, n_compared = (np.array(column) for column in zip(*whole, strict=True))
    print(
        f"{n_tracks:,} tracks, {n_rows:,} rows; {len(whole)} checks of {LENGTH_S:.0f} s, "
        f"{n_compared.mean():.0f} candidates each: first {wall[0]:.3f} s, median "
        f"{np.median(wall):.3f} s, {wall.min():.3f} to {wall.max():.3f} s, median CPU "
        f"{np.median(cpu):.3f} s\n\nAgain, stage by stage:\n\n"
        "| stage | median ms | range |\n|---|---|---|"
    )
    for stage in parts[0]:
        ms = [1e3 * spent[stage] for spent in parts]
        print(f"| {stage} | {np.median(ms):.0f} | {min(ms):.0f}–{max(ms):.0f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
