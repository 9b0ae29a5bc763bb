"""Tiles done by the workers of a Ray cluster, with a ledger: every result is a file.

The name of a result is the hash of its work, its part and ``tiles.TILES_FORMAT``, so a tile that
was done is never done again: a run that was killed resumes with the tiles that are missing, and one
of a program that makes other tiles starts afresh.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from auditor.distributed.ray_tasks import MAX_RETRIES, counter, run_in_order
from auditor.distributed.snapshot_reader import SnapshotReader
from auditor.distributed.snapshot_writer import write_snapshot
from auditor.distributed.storage import Storage
from auditor.errors import AuditError
from auditor.parallel import TILES_FORMAT, Part, Result, Work, one_thread
from auditor.scoring.track_reader import CatalogueReader

if TYPE_CHECKING:
    from ray import ObjectRef

_SEAL = 32
"""Bytes of SHA-256 in front of a result."""


class RayTiles:
    """Does tiles on the cluster that this process is connected to; a ``tiles.Tiles``.

    Parameters
    ----------
    storage : Storage
        Where the snapshot and the ledger lie.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def publish(self, reader: CatalogueReader, *, with_excerpts: bool) -> SnapshotReader:
        """Write the catalogue to the shared storage, and return what reads it there."""
        return write_snapshot(self._storage, reader, with_excerpts=with_excerpts)

    def map(self, work: Work[Part, Result], parts: Iterable[Part]) -> Iterator[Result]:
        """Yield the result of every part, in the order of the parts.

        Raises
        ------
        AuditError
            What the work raises; that a tile was lost again and again; or the cluster.
        """
        import ray

        ledger: Storage = work.reader.storage
        done = ledger.names()
        remote = ray.remote(num_cpus=1, max_retries=MAX_RETRIES)(do_tile)

        def submit(task: tuple[str, Part]) -> ObjectRef | None:
            name, part = task
            return None if name in done else remote.remote(work, part, ledger, name)

        tasks = ((tile_name(work, part), part) for part in parts)
        for (name, part), lost in run_in_order(submit, tasks):
            if lost is not None:
                raise AuditError(
                    f"{MAX_RETRIES + 1} workers died of one tile: {lost}. Finished work is kept: "
                    "give the nodes more memory or fewer cores, and run the command again."
                )
            result = read_tile(work, ledger, name)
            if result is None:  # what was there is damaged, or gone
                do_tile(work, part, ledger, name)
                result = read_tile(work, ledger, name)
            if result is None:
                raise AuditError(
                    f"{ledger.url}/{name} does not hold what was written. Check the storage, and "
                    "run the command again."
                )
            yield result


def do_tile(work: Work[Part, Any], part: Part, ledger: Storage, name: str) -> None:
    """Do a tile and store its result; what a worker runs."""
    one_thread()
    data = work.pack(work(part))
    ledger.write(name, hashlib.sha256(data).digest() + data)
    counter("audit_tiles_done", "Tiles that were done.").inc()


def read_tile(work: Work[Any, Result], ledger: Storage, name: str) -> Result | None:
    """Return a result from the ledger; None where there is none, or it is damaged."""
    data = ledger.read(name) or b""
    if hashlib.sha256(data[_SEAL:]).digest() != data[:_SEAL]:
        return None
    try:
        return work.unpack(data[_SEAL:])
    except ValueError:
        return None


def tile_name(work: Work[Part, Any], part: Part) -> str:
    """Return the name of a tile's result: the hash of its work, which names the snapshot."""
    text = f"{TILES_FORMAT} {work!r} {part!r}"
    return f"done-{hashlib.sha256(text.encode()).hexdigest()[:32]}"
