"""Files embedded by the workers of a Ray cluster, in order.

Files go out in shards; each becomes one file on the shared storage, and what is there already is
not embedded again.  Shards end where the hash of a path says so: when the first files of a
collection are stored and a killed run goes on with the others, the shards are the same ones.
"""

from __future__ import annotations

import functools
import hashlib
import zlib
from collections.abc import Generator, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from auditor.audio.files import FoundFile
from auditor.distributed.embedding_shards import FORMAT, pack_files, unpack_files, usable_files
from auditor.distributed.node_folder import node_folder
from auditor.distributed.ray_tasks import MAX_RETRIES, cores_beside_gpu, counter, run_in_order
from auditor.distributed.storage import Storage
from auditor.embedding.config import GPU_BATCH
from auditor.errors import AuditError, UsageError, WorkerDiedError, show_path
from auditor.ingest.embedders import make_embedder
from auditor.ingest.prepare import PreparedFile
from auditor.parallel import one_thread

if TYPE_CHECKING:
    from ray import ObjectRef

    from auditor.embedding.extractor import Extractor

N_FILES = 32
"""Files of a shard, on average: some 10 MB of four-minute tracks."""

Shard = Sequence[FoundFile]


@dataclass(frozen=True)
class Resources:
    """What a shard is embedded with, by ``workers.make_embedder``; a core, unless told otherwise.

    Attributes
    ----------
    device : str
    n_cores, n_gpus : int
        What Ray keeps for it.
    batch : int
        Windows embedded at once on a GPU.
    """

    device: str = "cpu"
    n_cores: int = 1
    n_gpus: int = 0
    batch: int = GPU_BATCH


def embedding_resources(device: str, batch: int | None) -> Resources:
    """Return what the cluster that this process is connected to embeds with.

    Parameters
    ----------
    device : "cpu", "cuda" or "auto"
        ``auto`` takes the GPUs where there are any, and then nothing else.
    batch : int or None
        As the user gave it.

    Raises
    ------
    UsageError
        If it has no GPU and one was asked for, or a batch for one was given.
    """
    n_cores = 0 if device == "cpu" else cores_beside_gpu()
    if n_cores:
        return Resources(device, n_cores, 1, batch or GPU_BATCH)
    if device == "cuda":
        raise UsageError(
            "--device cuda: no node of the cluster has a GPU, and a core to decode for it. Add one "
            "with: ray start --num-gpus=1 --num-cpus=8, or give --device cpu."
        )
    if batch is not None:
        raise UsageError(
            f"--batch {batch} is for GPUs, and this cluster embeds on its cores. Leave it out, or "
            "add nodes with GPUs and leave --device cpu out."
        )
    return Resources()


class RayEmbedder:
    """Embeds files on the cluster that this process is connected to.

    Parameters
    ----------
    extractor : Extractor
        Loaded from a file, which travels to the workers.
    storage : Storage
    resources : Resources
    n_files : int
        See ``N_FILES``; another number makes other shards.
    keep : bool
        Leave the shards where they are, for a run that goes on after this one.
    """

    def __init__(
        self,
        extractor: Extractor,
        storage: Storage,
        *,
        resources: Resources = Resources(),
        n_files: int = N_FILES,
        keep: bool = True,
    ) -> None:
        self._extractor, self._storage = extractor, storage / "embedded"
        self._resources, self._n_files, self._keep = resources, n_files, keep

    @functools.cached_property
    def _weights(self) -> Weights:
        import ray

        path = self._extractor.path
        assert path is not None  # it was loaded from a file
        return Weights(path.name, self._extractor.precision, ray.put(path.read_bytes()))

    def embed(
        self, files: Iterable[FoundFile], *, known: Set[str] = frozenset()
    ) -> Generator[PreparedFile]:
        """See ``prepare.Embedder.embed``.

        Raises
        ------
        AuditError
            If the cluster is gone, or a node lacks what it needs.
        """
        import ray

        resources = self._resources
        needs = {"num_cpus": resources.n_cores, "num_gpus": resources.n_gpus}
        remote = ray.remote(**needs, max_retries=MAX_RETRIES)(embed_shard)
        told = [ray.put(frozenset(known))]  # in a list it is fetched only when it is needed

        def submit(shard: Shard) -> ObjectRef:
            return remote.remote(list(shard), self._weights, resources, told, self._storage)

        for shard, lost in run_in_order(submit, shards(files, self._n_files)):
            if lost is None:
                yield from self._read(shard, known)
                continue
            for (found,), lost_again in run_in_order(submit, [(found,) for found in shard]):
                if lost_again is None:
                    yield from self._read((found,), known)
                else:
                    yield PreparedFile(found, error=_died(found))

    def _read(self, shard: Shard, known: Set[str]) -> list[PreparedFile]:
        name = shard_name(shard, self._extractor.weights_id)
        data = self._storage.read(name)
        if data is None:
            raise AuditError(
                f"{self._storage.url} lacks {name}, which a worker has written. Give a "
                "--cluster-storage that every node sees, this machine too."
            )
        try:
            made = {one.found: one for one in unpack_files(data, self._extractor.weights_id)}
            files = [made[found] for found in shard]
        except (ValueError, KeyError) as error:
            raise AuditError(
                f"{self._storage.url}/{name} does not hold what a worker has written: {error}. "
                "Check the storage, remove this file, and run the command again."
            ) from None
        if not self._keep:
            self._storage.remove(name)
        return files


@dataclass(frozen=True)
class Weights:
    """A weights file on its way to the workers.

    Attributes
    ----------
    name : str
        Of the file; it carries the hash.
    precision : str
    content : ObjectRef
        Its bytes, fetched once by every process.
    """

    name: str
    precision: str
    content: ObjectRef = field(compare=False)


def embed_shard(
    files: list[FoundFile],
    weights: Weights,
    resources: Resources,
    known: list[str],
    storage: Storage,
) -> None:
    """Embed some files and store them, unless that was done before; what a worker runs."""
    import ray

    one_thread()
    extractor = load_weights(weights)
    name = shard_name(files, extractor.weights_id)
    known_hashes = ray.get(known[0])
    if (data := storage.read(name)) is not None:
        try:
            if usable_files(unpack_files(data, extractor.weights_id), files, known_hashes):
                return
        except ValueError:  # damaged: it is made again
            pass
    embedder = make_embedder(
        extractor, jobs=resources.n_cores, device=resources.device, batch=resources.batch
    )
    made = []
    for one in embedder.embed(files, known=known_hashes):
        made.append(one)
        counter("audit_files_embedded", "Files that were decoded and embedded.").inc()
        if one.error is not None:
            counter("audit_files_failed", "Files that could not be embedded.").inc()
    storage.write(name, pack_files(made, extractor.weights_id))


@functools.lru_cache(maxsize=1)
def load_weights(weights: Weights) -> Extractor:
    """Return the extractor of some weights, loaded once in every process.

    The file stays on the node: processes that decode for this one load it again.
    """
    import ray

    from auditor.embedding.extractor import load_extractor

    folder = node_folder() / "weights"
    Storage(str(folder)).write(weights.name, ray.get(weights.content))
    return load_extractor(folder / weights.name, precision=weights.precision)


def shards(files: Iterable[FoundFile], n_files: int) -> Iterator[Shard]:
    """Cut files, in their order, into shards of some ``n_files`` and at most twice as many."""
    shard: list[FoundFile] = []
    for found in files:
        shard.append(found)
        if zlib.crc32(found.path) % n_files == 0 or len(shard) == 2 * n_files:
            yield tuple(shard)
            shard = []
    if shard:
        yield tuple(shard)


def shard_name(shard: Shard, weights_id: str) -> str:
    """Return the name of a shard's file, by where it ends."""
    last = hashlib.sha256(shard[-1].path).hexdigest()[:32]
    return f"{last}-{weights_id}-{FORMAT.rpartition('/')[2]}.parquet"


def _died(found: FoundFile) -> WorkerDiedError:
    n = MAX_RETRIES + 1
    return WorkerDiedError(
        f"{show_path(found.path)}: {n} workers died on it. Check the file and the memory of the "
        "nodes."
    )
