"""A Ray cluster of three nodes on this machine, and an object store that they find."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from small_cluster import NODE


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """Serve an object store, where there is one to be had, that nodes find by the environment."""
    try:
        import s3fs
        from moto.server import ThreadedMotoServer
    except ImportError:
        yield ""
        return
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    endpoint = "http://{}:{}".format(*server.get_host_and_port())
    settings = {"KEY": "x", "SECRET": "x", "ENDPOINT_URL": endpoint}
    os.environ.update({f"FSSPEC_S3_{name}": value for name, value in settings.items()})
    store = s3fs.S3FileSystem(key="x", secret="x", endpoint_url=endpoint)
    store.makedirs("bucket", exist_ok=True)  # buckets of one process are those of all its servers
    yield "s3://bucket/audit"
    server.stop()


@pytest.fixture(scope="module")
def cluster(bucket) -> Iterator[Any]:
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    soon = {  # a node that is gone is missed in seconds, not in half a minute
        "health_check_initial_delay_ms": 1000,
        "health_check_period_ms": 500,
        "health_check_timeout_ms": 1000,
        "health_check_failure_threshold": 4,
    }
    head = {**NODE, "include_dashboard": False, "_system_config": soon}
    made = cluster_utils.Cluster(initialize_head=True, head_node_args=head)
    for _ in range(2):
        made.add_node(**NODE)
    yield made
    made.shutdown()
