"""Audio of a data set in the layouts of Hugging Face's ``datasets``, read from disk alone.

Two layouts hold audio inside tables: what ``save_to_disk`` writes (``dataset_dict.json``, and Arrow
files in a folder for each split), and a snapshot of a repository (``data/train-00000-of-00001``
and so on, ``.parquet``).  An audio column is a struct of ``bytes`` and ``path``.  The bytes are
unpacked to files, once, since files are what the catalogue knows; where there are none, ``path`` is
taken.

pyarrow is optional (``pip install auditor[datasets]``); ``datasets`` itself is not needed.

References
----------
Lhoest et al. (2021), Datasets: A Community Library for Natural Language Processing,
arXiv:2109.02846.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from auditor.audio.formats import SUFFIXES
from auditor.errors import UsageError, show_path
from auditor.ingest.path_lists import resolve
from auditor.serialisation import partial_file, put_in_place

MANIFEST = "dataset_dict.json"
"""What ``DatasetDict.save_to_disk`` writes."""

_PARQUET = re.compile(r"([A-Za-z]+)-\d{5}-of-\d{5}(?:-[0-9a-f]+)?\.parquet")
_MAGIC = (
    *(
        (b"RIFF", ".wav"),
        (b"fLaC", ".flac"),
        (b"OggS", ".ogg"),
        (b"ID3", ".mp3"),
        (b"FORM", ".aiff"),
    ),
    *((b"\xff\xfb", ".mp3"), (b"\xff\xf3", ".mp3"), (b"\xff\xf2", ".mp3")),
)
_MAX_NAME = 80


def table_files(path: Path) -> dict[str, list[Path]]:
    """Return the tables of each split of a data set; empty if it has another layout.

    The names of splits are as the data set has them.
    """
    found: dict[str, list[Path]] = {}
    if (path / MANIFEST).is_file():
        for folder in sorted(entry for entry in path.iterdir() if entry.is_dir()):
            if files := sorted(folder.glob("*.arrow")):
                found[folder.name] = files
        return found
    for folder in (path, path / "data"):
        for file in sorted(folder.glob("*.parquet")) if folder.is_dir() else ():
            if named := _PARQUET.fullmatch(file.name):
                found.setdefault(named[1], []).append(file)
    return found


def unpack_audio(files: list[Path], folder: Path) -> list[bytes]:
    """Write the audio of some tables to files, those that are there already left alone.

    Parameters
    ----------
    files : list of pathlib.Path
        Arrow or Parquet.
    folder : pathlib.Path
        Made where it is missing.

    Returns
    -------
    list of bytes
        Absolute paths, in the order of the rows.

    Raises
    ------
    UsageError
        If pyarrow is not installed, a table cannot be read, or has no column of audio.
    OSError
        If a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[bytes] = []
    for file in files:
        for row, value in enumerate(_audio_values(file)):
            data, name = value.get("bytes"), value.get("path") or ""
            if data is None:
                if name:
                    paths.append(resolve(file.parent, name))
                continue
            target = folder / f"{file.stem}-{row:07}-{_file_name(name, data)}"
            if not target.exists() or target.stat().st_size != len(data):
                with partial_file(folder) as partial:
                    partial.write_bytes(data)
                    put_in_place(partial, target)
            paths.append(os.fsencode(target.absolute()))
    return paths


def _file_name(name: str, data: bytes) -> str:
    """Return a harmless name for the file of a row, with the suffix of its format."""
    stem, suffix = os.path.splitext(os.path.basename(name))
    if suffix.lower() not in SUFFIXES:
        suffix = next((known for magic, known in _MAGIC if data.startswith(magic)), ".wav")
    safe = re.sub(r"[^0-9A-Za-z._-]+", "_", stem)[:_MAX_NAME].lstrip(".") or "audio"
    return f"{safe}{suffix.lower()}"


def _audio_values(file: Path) -> Iterator[dict[str, Any]]:
    shown = show_path(file)
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise UsageError(
            f"{shown}: reading a data set of Hugging Face requires pyarrow. "
            "Run: pip install 'auditor[datasets]'"
        ) from None
    try:
        if file.suffix == ".parquet":
            with pq.ParquetFile(file) as table:
                name = _audio_column(pa, table.schema_arrow, shown)
                for batch in table.iter_batches(batch_size=16, columns=[name]):
                    yield from (value or {} for value in batch.column(0).to_pylist())
            return
        with pa.memory_map(str(file)) as source, _open_arrow(pa, source) as reader:
            name = _audio_column(pa, reader.schema, shown)
            for batch in reader:
                column = batch.column(batch.schema.get_field_index(name))
                for i in range(len(column)):  # a batch may hold more audio than memory
                    yield column[i].as_py() or {}
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"{shown} cannot be read: {reason}.") from None


def _open_arrow(pa: Any, source: Any) -> Any:
    return pa.ipc.open_stream(source)


def _audio_column(pa: Any, schema: Any, shown: str) -> str:
    """Return the column of audio: ``audio`` if it is one, else the first struct of bytes and path.

    Raises
    ------
    UsageError
        If there is none.
    """
    names = [
        field.name
        for field in schema
        if pa.types.is_struct(field.type)
        and {"bytes", "path"} <= {field.type.field(i).name for i in range(field.type.num_fields)}
    ]
    if not names:
        raise UsageError(
            f"{shown} has no column of audio (a struct of bytes and path). Its columns are "
            f"{', '.join(show_path(name) for name in schema.names[:10])}."
        )
    return "audio" if "audio" in names else names[0]
