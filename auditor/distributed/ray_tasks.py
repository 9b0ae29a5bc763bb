"""Ray: finding a cluster, and keeping it busy with tasks whose ends come in order.

A task is given the names of files and returns counts; what it makes goes to the shared storage.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import logging
import os
import socket
import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from auditor.errors import AuditError, UsageError

if TYPE_CHECKING:
    from ray import ObjectRef
    from ray.util.metrics import Counter

Task = TypeVar("Task")

N_WAITING = 3
"""Tasks under way for each core: enough that none is idle, and few enough to bound memory."""

ANSWERS_WITHIN_S = 5.0
"""How long the head of a cluster may take to answer."""

MAX_RETRIES = 1
"""Times that Ray runs a task again whose worker or node has died; then it counts as lost."""


class ClusterLostError(AuditError):
    """The cluster is gone; what it has done is kept."""


@contextlib.contextmanager
def ray_cluster(address: str) -> Iterator[None]:
    """Connect to a Ray cluster for as long as the ``with`` lasts.

    Parameters
    ----------
    address : str
        ``auto`` is the cluster that this machine belongs to, else one of this machine alone, which
        ends with the ``with``; otherwise ``HOST:PORT`` of the head, whose cluster this machine must
        have joined, or ``ray://HOST:10001``.

    Raises
    ------
    UsageError
        If Ray is not installed, or no cluster answers.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError:
        raise UsageError(
            "--cluster needs Ray, which is not installed. Run: pip install 'auditor[cluster]'"
        ) from None
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    try:
        if address != "auto":
            _knock(address)
        ray.init(address=address, **quiet)
    except (OSError, RuntimeError, ValueError) as error:
        if address != "auto" or "Could not find any running Ray instance" not in str(error):
            raise UsageError(
                f"no Ray cluster answers at {address}: {first_line(error)}. Start one with: ray "
                "start --head, and give its HOST:PORT; or, if it asks for a token, run first: "
                "export RAY_AUTH_MODE=token"
            ) from None
        ray.init(address="local", include_dashboard=False, **quiet)
    try:
        # Ray prints whole logs there when a worker dies, which its dashboard and files hold too.
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            yield
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Raise OSError or ValueError where nothing listens: Ray would try for minutes."""
    parts = urllib.parse.urlsplit(address if "://" in address else f"//{address}")
    if not parts.hostname or not parts.port:
        raise ValueError("HOST:PORT is needed")
    socket.create_connection((parts.hostname, parts.port), timeout=ANSWERS_WITHIN_S).close()


def n_cores() -> int:
    """Return how many tasks the cluster runs at once, at least 1."""
    import ray

    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def cores_beside_gpu() -> int:
    """Return how many cores each GPU of the cluster can have to itself, 0 where there is no GPU.

    Nodes with fewer cores than GPUs do not count: nothing could decode for them.
    """
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    shares = (node.get("CPU", 0) // node["GPU"] for node in nodes if node.get("GPU"))
    return int(min((share for share in shares if share >= 1), default=0))


def run_in_order(
    submit: Callable[[Task], ObjectRef | None], tasks: Iterable[Task]
) -> Iterator[tuple[Task, Any]]:
    """Yield tasks in their order, each when it and those before it have ended.

    As many are under way as keep the cluster busy; a slow one keeps no other waiting.

    ``parallel.map_ahead`` does not fit: a worker may die, which loses its task and no other one;
    a task that is done already takes no place; and of a large cluster the tasks that have ended are
    asked for many at once.

    Parameters
    ----------
    submit : callable
        Hands a task out; None where it is done already.
    tasks : iterable
        Drawn from as the work proceeds.

    Yields
    ------
    task, lost : Task and Exception or None
        The task, and the error of Ray where its worker or node has died each time.

    Raises
    ------
    AuditError
        What the task itself raised, that a node lacks what it needs, or that the cluster is gone.
    """
    import ray

    waiting: collections.deque[tuple[Task, ObjectRef | None]] = collections.deque()
    under_way: set[ObjectRef] = set()
    most = N_WAITING * n_cores()
    try:
        for task in tasks:
            reference = submit(task)
            waiting.append((task, reference))
            if reference is not None:
                under_way.add(reference)
            if len(under_way) >= most:
                # Some at once: asking for each costs more than the tile of a large cluster.
                done, _ = ray.wait(list(under_way), num_returns=max(1, most // 8))
                under_way.difference_update(done)
            while waiting and waiting[0][1] not in under_way:
                first, reference = waiting.popleft()
                yield first, _lost(reference)
        while waiting:
            first, reference = waiting.popleft()
            yield first, _lost(reference)
    finally:
        for _, reference in waiting:
            if reference is not None:
                with contextlib.suppress(Exception):  # the cluster may be gone
                    ray.cancel(reference)


def _lost(reference: ObjectRef | None) -> Exception | None:
    """Wait for a task; return how it was lost, None if it was not."""
    import ray
    from ray import exceptions

    if reference is None:
        return None
    try:
        ray.get(reference)
    except exceptions.RayTaskError as error:
        if isinstance(error.cause, AuditError):
            raise error.cause from None
        raise AuditError(
            f"a cluster node failed: {first_line(error.cause)}. Every node needs this version of "
            "auditor with auditor[cluster], and the shared storage."
        ) from error
    except (
        exceptions.WorkerCrashedError,
        exceptions.NodeDiedError,
        exceptions.OutOfMemoryError,
    ) as error:
        return error
    except exceptions.RayError as error:
        raise ClusterLostError(
            f"the cluster was lost: {first_line(error)}. Finished work is kept: run the command "
            "again when the cluster is up."
        ) from error
    return None


@functools.cache
def counter(name: str, description: str) -> Counter:
    """Return this process's counter of a metric of Ray's dashboard."""
    from ray.util.metrics import Counter

    return Counter(name, description=description)


def first_line(error: BaseException) -> str:
    """Return what an error says first, without the full stop."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
