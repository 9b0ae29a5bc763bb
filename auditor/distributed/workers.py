"""The workers of a scan on a cluster, made sure of before anything is given to them."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator, Sequence

from auditor.audio.files import is_there, real_path
from auditor.distributed.embedder import RayEmbedder, embedding_resources
from auditor.distributed.ray_tasks import first_line, ray_cluster
from auditor.distributed.ray_tiles import RayTiles
from auditor.distributed.storage import Storage
from auditor.errors import UsageError, show_path
from auditor.workspace import Workspace


@contextlib.contextmanager
def ray_workers(
    workspace: Workspace,
    roots: Sequence[str],
    *,
    address: str,
    storage: str | None = None,
    device: str = "auto",
    batch: int | None = None,
    keep: bool = True,
) -> Iterator[tuple[RayEmbedder, RayTiles]]:
    """Connect to a cluster, and yield what embeds files and does tiles on it.

    Parameters
    ----------
    workspace : Workspace
        Opened for writing, on this machine.
    roots : sequence of str
        Folders of music, which every node must see under the same paths, or URLs of objects.
    address : str
        See ``ray_tasks.ray_cluster``.
    storage : str, optional
        URL of the shared storage; by default ``cluster`` in the folder of the workspace.
    device, batch
        See ``embedder.embedding_resources``.
    keep : bool
        See ``embedder.RayEmbedder``.

    Raises
    ------
    UsageError
        If there is no Ray, no cluster, no GPU for what was asked for, or a node lacks the storage,
        the music or the program.
    """
    shared = Storage(storage or os.path.abspath(workspace.directory / "cluster"))
    with ray_cluster(address):
        resources = embedding_resources(device, batch)
        check_ray_nodes(shared, [real_path(root) for root in roots])
        embedder = RayEmbedder(workspace.extractor, shared, resources=resources, keep=keep)
        yield embedder, RayTiles(shared)


def check_ray_nodes(storage: Storage, roots: Sequence[bytes]) -> None:
    """Let every node look for the shared storage and the music.

    Raises
    ------
    UsageError
        If a node cannot see one of them; names it.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    token = uuid.uuid4().hex
    try:
        storage.write("token", token.encode())
    except OSError as error:
        raise UsageError(
            f"--cluster-storage {storage.url} cannot be written to: {error}. Give another one."
        ) from None
    remote = ray.remote(num_cpus=0, max_retries=0)(find_unreachable)
    nodes = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
    asked = [
        remote.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False)
        ).remote(storage, token, list(roots))
        for node_id in nodes
    ]
    for address, answer in zip(nodes.values(), asked, strict=True):
        try:
            missing = ray.get(answer)
        except ray.exceptions.RayError as error:
            cause = getattr(error, "cause", error)
            raise UsageError(
                f"the node {address} cannot work: {first_line(cause)}. Install this version of "
                "auditor with auditor[cluster] on every node."
            ) from None
        if missing:
            raise UsageError(
                f"the node {address} does not see {missing}. Give folders or URLs, and a "
                "--cluster-storage, that every node sees under the same path."
            )


def find_unreachable(storage: Storage, token: str, roots: list[bytes]) -> str:
    """Return what this node cannot see; what a worker runs."""
    if storage.read("token") != token.encode():
        return f"the storage {storage.url}"
    for root in roots:
        try:
            if not is_there(root):
                return show_path(root)
        except OSError as error:
            return f"{show_path(root)}, because {error.strerror}"
    return ""
