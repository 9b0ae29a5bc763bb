"""What became of some files, as one Parquet file: the shards that an embedding leaves behind.

A row is a ``prepare.PreparedFile``: the file's path and stamp, and its d-vectors, embedding,
spectrum and tags, or why there are none.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence, Set
from typing import TYPE_CHECKING, Any

import numpy as np

from auditor.audio.files import FoundFile
from auditor.audio.tags import Tags
from auditor.catalogue.catalogue import FileStamp
from auditor.catalogue.spectrograms import pack_spectrum, unpack_spectrum
from auditor.embedding.config import SPECTRUM
from auditor.errors import AudioError, TooShortError, WorkerDiedError
from auditor.ingest.prepare import Prepared, PreparedFile
from auditor.records import TrackEmbedding
from auditor.serialisation import from_json, parse_json, to_json

if TYPE_CHECKING:
    import pyarrow

FORMAT = "audit-embedded/2"
_ERRORS = {kind.__name__: kind for kind in (AudioError, TooShortError, WorkerDiedError)}


def pack_files(made: Sequence[PreparedFile], weights_id: str) -> bytes:
    """Return the Parquet file of some files, each embedded by one extractor or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist([_row(one, weights_id) for one in made], schema=_schema())
    file = io.BytesIO()
    # d-vectors do not pack, and spectra are packed.
    pq.write_table(table, file, compression="none", use_dictionary=False, write_page_checksum=True)
    return file.getvalue()


def unpack_files(data: bytes, weights_id: str) -> list[PreparedFile]:
    """Return the files of a Parquet file that ``pack_files`` wrote.

    Raises
    ------
    ValueError
        If it is damaged, or of another format or extractor.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(data), page_checksum_verification=True)
        if table.schema.metadata is None or table.schema.metadata[b"format"] != FORMAT.encode():
            raise ValueError("it is of another format")
        return [_made(row, weights_id) for row in table.to_pylist()]
    except (OSError, KeyError, TypeError, pa.ArrowException) as error:
        raise ValueError(f"a shard is damaged: {error}") from None


def usable_files(
    made: Sequence[PreparedFile], files: Sequence[FoundFile], known: Set[str]
) -> list[PreparedFile] | None:
    """Return what became of some files among others; None where one of them is to be made again.

    That is a file that is not there or has changed; one that could not be read, or whose process
    died, which may be mended without a trace; and one that was left alone because its content was
    known, and is no longer.
    """
    by_file = {one.found: one for one in made}
    found = [by_file.get(file) for file in files]
    good = all(
        one is not None
        and not isinstance(one.error, OSError | WorkerDiedError)
        and (one.prepared or one.error or one.sha256 in known)
        for one in found
    )
    return [one for one in found if one is not None] if good else None


def _schema() -> pyarrow.Schema:
    import pyarrow as pa

    columns = {
        "path": pa.binary(),
        "size": pa.int64(),
        "mtime_ns": pa.int64(),
        "ctime_ns": pa.int64(),
        "inode": pa.int64(),
        "sha256": pa.string(),
        "error": pa.string(),
        "made": pa.string(),
        "weights_id": pa.string(),
        "embedding": pa.binary(),
        "dvectors": pa.binary(),
        "levels": pa.binary(),
        "spectrum": pa.binary(),
    }
    return pa.schema(list(columns.items()), metadata={"format": FORMAT})


def _row(made: PreparedFile, weights_id: str) -> dict[str, Any]:
    row: dict[str, Any] = {
        "path": made.found.path,
        "size": made.found.size,
        "mtime_ns": made.found.mtime_ns,
        "ctime_ns": made.found.ctime_ns,
        "inode": made.found.inode,
        "sha256": made.sha256,
        "weights_id": weights_id,
        "error": None if made.error is None else json.dumps(_told(made.error)),
    }
    if made.prepared is None:
        return row
    embedded = made.prepared.embedded
    vectors = embedded.embeddings[weights_id]
    facts = {
        "info": to_json(embedded.info),
        "tags": to_json(made.prepared.tags),
        "duration_s": embedded.duration_s,
        "truncated": embedded.truncated,
        "silent": embedded.silent,
        "seconds": embedded.seconds,
    }
    return row | {
        "made": json.dumps(facts, allow_nan=False),
        "embedding": vectors.embedding.astype("<f4").tobytes(),
        "dvectors": vectors.dvectors.astype("<f2").tobytes(),
        "levels": vectors.levels.astype("<f2").tobytes(),
        "spectrum": pack_spectrum(embedded.spectrum, level=1),
    }


def _made(row: dict[str, Any], weights_id: str) -> PreparedFile:
    from auditor.audio.facts import AudioInfo
    from auditor.embedding.embed import EmbeddedFile

    stamp = row["size"], row["mtime_ns"], row["ctime_ns"], row["inode"]
    found = FoundFile(row["path"], *stamp)
    if row["weights_id"] != weights_id:
        raise ValueError(f"it is of weights {row['weights_id']:.80}; {weights_id} was expected")
    if row["error"] is not None:
        return PreparedFile(found, row["sha256"], error=_error(parse_json(row["error"])))
    if row["made"] is None:
        return PreparedFile(found, row["sha256"])
    facts = parse_json(row["made"])
    embedding = np.frombuffer(row["embedding"], "<f4")
    embedded = EmbeddedFile(
        info=from_json(AudioInfo, facts["info"], where="info"),
        duration_s=float(facts["duration_s"]),
        truncated=bool(facts["truncated"]),
        silent=bool(facts["silent"]),
        embeddings={
            weights_id: TrackEmbedding(
                embedding,
                np.frombuffer(row["dvectors"], "<f2").reshape(-1, len(embedding)),
                np.frombuffer(row["levels"], "<f2"),
            )
        },
        seconds={str(stage): float(s) for stage, s in facts["seconds"].items()},
        spectrum=unpack_spectrum(row["spectrum"], SPECTRUM.n_bands),
    )
    tags = from_json(Tags, facts["tags"], where="tags")
    return PreparedFile(
        found, row["sha256"], Prepared(FileStamp.of(found), row["sha256"], embedded, tags)
    )


def _told(error: AudioError | OSError) -> dict[str, Any]:
    if isinstance(error, OSError):
        return {"kind": "OSError", "errno": error.errno, "text": error.strerror}
    kind = type(error).__name__
    return {"kind": kind if kind in _ERRORS else "AudioError", "text": str(error)}


def _error(told: dict[str, Any]) -> AudioError | OSError:
    if told["kind"] == "OSError":  # errno makes a FileNotFoundError of it where it was one
        return OSError(told["errno"], told["text"]) if told["errno"] else OSError(told["text"])
    return _ERRORS[told["kind"]](told["text"])
