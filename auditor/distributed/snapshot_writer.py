"""Writing the snapshot of a catalogue to shared storage, once for every state of the catalogue."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import io
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import auditor
from auditor.catalogue.spectrograms import pack_spectrum
from auditor.distributed.snapshot_reader import (
    FORMAT,
    MANIFEST,
    N_TRACKS,
    Manifest,
    SnapshotReader,
    open_snapshot,
)
from auditor.distributed.storage import Storage
from auditor.embedding.config import SPECTRUM_LAYOUT
from auditor.parallel import ranges
from auditor.scoring.track_reader import CatalogueReader, Content
from auditor.search.all_pairs import TILE_ROWS

Files = Iterator[tuple[str, Callable[[], bytes]]]
"""Names of files, and what makes what they hold."""


def write_snapshot(
    storage: Storage, reader: CatalogueReader, *, with_excerpts: bool
) -> SnapshotReader:
    """Write what is not yet there of the snapshot of a catalogue, and return its reader.

    Parameters
    ----------
    storage : Storage
    reader : CatalogueReader
        Of the catalogue.
    with_excerpts : bool
        Write d-vectors, spectra and the excerpt index too, which is up to date.
    """
    ids, embeddings = reader.tracks()
    contents = [reader.content(track_id) for track_id in ids]
    shards = reader.excerpts()[0].shards if with_excerpts else ()
    digest = hashlib.sha256()
    heard = reader.stored_spectra()
    for track_id, content, row in zip(ids, contents, embeddings, strict=True):
        known = f"{content.sha256}\n{content.sha256 in heard}"  # what has no spectrum may get one
        digest.update(f"{track_id}\n{known}\n{content.duration_s!r}\n".encode())
        digest.update(row.astype("<f4").tobytes())
    index = sorted(shard.path for shard in shards)
    manifest = Manifest(
        format=FORMAT,
        version=auditor.__version__,
        weights_id=reader.weights_id,
        hop_s=reader.hop_s,
        window_s=reader.window_s,
        spectra=SPECTRUM_LAYOUT,
        n_tracks=len(ids),
        n_dims=embeddings.shape[1],
        content=digest.hexdigest(),
        index=tuple(path.stem for path in index),
        first_ids=tuple(ids[::N_TRACKS]) if with_excerpts else (),
    )
    here = storage / manifest.key
    there = here.names()
    if MANIFEST not in there:
        files = _embedding_files(reader, contents)
        if with_excerpts:
            files = itertools.chain(files, _track_files(reader), _index_files(index))
        for name, data in files:
            if name not in there:
                here.write(name, data())
        here.write(MANIFEST, json.dumps(dataclasses.asdict(manifest)).encode())
    return open_snapshot(here)


def _embedding_files(reader: CatalogueReader, contents: Sequence[Content]) -> Files:
    ids, embeddings = reader.tracks()
    for n, (start, end) in enumerate(ranges(len(ids), TILE_ROWS)):
        rows = (
            {
                "id": ids[i],
                "sha256": contents[i].sha256,
                "duration_s": contents[i].duration_s,
                "embedding": embeddings[i].astype("<f4").tobytes(),
            }
            for i in range(start, end)
        )
        yield f"embeddings-{n:05}.parquet", functools.partial(_parquet, rows, TILE_ROWS)


def _track_files(reader: CatalogueReader) -> Files:
    ids, _ = reader.tracks()
    for n, (start, end) in enumerate(ranges(len(ids), N_TRACKS)):
        rows = (_track_row(reader, track_id) for track_id in ids[start:end])
        yield f"tracks-{n:05}.parquet", functools.partial(_parquet, rows, 1)


def _index_files(index: Sequence[Path]) -> Files:
    for path in index:
        for suffix in (".ann", ".rows", ".json"):
            file = path.with_suffix(suffix)
            yield file.name, file.read_bytes


def _track_row(reader: CatalogueReader, track_id: str) -> dict[str, Any]:
    dvectors, levels = reader.dvectors(track_id)
    spectrum = reader.spectrum(track_id)
    return {
        "id": track_id,
        "dvectors": dvectors.astype("<f2").tobytes(),
        "levels": levels.astype("<f2").tobytes(),
        "spectrum": None if spectrum is None else pack_spectrum(spectrum, level=1),
    }


def _parquet(rows: Iterable[dict[str, Any]], group_rows: int) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {"id": pa.string(), "sha256": pa.string(), "duration_s": pa.float64()}
    rows = list(rows)
    schema = pa.schema([(name, kinds.get(name, pa.binary())) for name in rows[0]])
    file = io.BytesIO()
    pq.write_table(
        pa.Table.from_pylist(rows, schema=schema),
        file,
        row_group_size=group_rows,
        compression="none",
        use_dictionary=False,
        write_statistics=False,
    )
    return file.getvalue()
