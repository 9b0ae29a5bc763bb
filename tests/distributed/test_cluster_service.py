"""``audit serve`` in front of a Ray cluster: the same answers, and no job lost with a node."""

from __future__ import annotations

import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from service_process import ServiceProcess
from small_audit import write_tune
from small_cluster import NODE
from small_service import make_workspace, track_rows

from auditor.serve.client import ServerError

pytest.importorskip("ray")
pytest.importorskip("pyarrow")

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("service")
    return folder, make_workspace(folder)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    found = [write_tune(folder / "copy.mp3", 1), write_tune(folder / "second.ogg", 2)]
    found += [write_tune(folder / f"{seed}.wav", seed) for seed in (51, 52, 53)]
    (folder / "bad.mp3").write_bytes(b"no audio" * 100)
    return [*found, folder / "bad.mp3"]


def said(check):
    """Return what a service says of a file, without times and random ids."""
    if check["result"] is None:
        return check["state"], check["problem"]
    result = json.loads(json.dumps(check["result"]))
    for varying in ("created", "seconds"):
        del result["provenance"][varying]
    return check["severity"], check["reasons"], json.dumps(result)


def test_answers_are_those_of_a_service_without_a_cluster(cluster, made, files, tmp_path):
    folder, weights = made
    shared = tmp_path / "shared"
    shared.mkdir()
    with ServiceProcess(folder / "ws", weights, "--workers", "1") as alone:
        expected = [said(alone.client().check(path)) for path in files]
        assert alone.stop() == 0
    assert {severity for severity, *_ in expected} == {"block", "pass", "failed"}
    options = ("--cluster", cluster.address, "--cluster-storage", shared, "--workers", "2")
    with ServiceProcess(folder / "ws", weights, *options) as service:
        with ThreadPoolExecutor(3) as threads:
            found = [said(one) for one in threads.map(service.client().check, files)]
        assert found == expected
        assert list((shared / "embedded").iterdir()) == []  # of no use once they were read
        assert service.stop() == 0


def test_no_check_is_lost_with_a_node(cluster, made, tmp_path):
    folder, weights = made
    doomed = cluster.add_node(**NODE)
    before = track_rows(folder / "ws")
    options = ("--cluster", cluster.address, "--workers", "2")
    with ServiceProcess(folder / "ws", weights, *options) as service:
        paths = [write_tune(tmp_path / f"{seed}.wav", seed) for seed in range(600, 612)]
        client = service.client()
        threading.Timer(1.0, cluster.remove_node, (doomed,)).start()
        with ThreadPoolExecutor(4) as threads:
            found = list(threads.map(lambda path: client.check(path, add=True), paths))
        assert [(one["state"], one["severity"]) for one in found] == [("done", "pass")] * len(paths)
        new = [row[0] for row in track_rows(folder / "ws") if row not in before]
        assert sorted(one["track_id"] for one in found) == sorted(new)
        assert service.stop() == 0


def test_objects_of_a_store_are_fetched_where_they_are_embedded(
    cluster, bucket, made, files, tmp_path
):
    if not bucket:
        pytest.skip("moto and s3fs are not installed")
    import s3fs

    folder, weights = made
    endpoint = os.environ["FSSPEC_S3_ENDPOINT_URL"]
    store = s3fs.S3FileSystem(key="x", secret="x", endpoint_url=endpoint)
    store.mkdir("others")
    for place in ("bucket/in/", "bucket/inside/", "others/"):
        store.pipe_file(f"{place}copy.mp3", files[0].read_bytes())
        store.pipe_file(f"{place}51.wav", files[2].read_bytes())
    store.pipe_file("bucket/in/sub/51.wav", files[2].read_bytes())
    store.pipe_file("bucket/in/large.wav", bytes(5_100_000))
    for more in ((), ("--cluster", cluster.address)):
        options = ("--workers", "1", "--root", "s3://bucket/in", "--max-upload", "5", *more)
        with ServiceProcess(folder / "ws", weights, *options) as service:

            def named(path, service=service, **fields):
                client = service.client()
                body = json.dumps({"path": path, **fields}).encode()
                kind = {"Content-Type": "application/json"}
                found = client._json("POST", "/v1/checks", body, kind)
                while found["state"] not in ("done", "failed"):
                    found = client.show(found["id"], wait_s=30.0)
                return found

            copy = named("s3://bucket/in/copy.mp3", external_id="42")
            assert (copy["severity"], copy["external_id"]) == ("block", "42")
            assert copy["result"]["submissions"][0]["path"] == "s3://bucket/in/copy.mp3"
            assert named("s3://bucket/in/51.wav")["severity"] == "pass"
            for name, code in (("gone.mp3", "not-found"), ("sub", "not-found")):
                found = named(f"s3://bucket/in/{name}")
                assert (found["state"], found["problem"]["code"]) == ("failed", code)
                assert found["problem"]["retryable"]
            large = named("s3://bucket/in/large.wav")
            assert (large["state"], large["problem"]["code"]) == ("failed", "too-large")
            for outside in (
                *("s3://others/copy.mp3", "s3://bucket/inside/copy.mp3", "s3://bucket/in"),
                *("s3://bucket/in/", "s3://bucket/in/sub/"),
                *("s3://bucket/in/../inside/copy.mp3", "s3://bucket/in/./copy.mp3"),
                *("s3://bucket/in/copy.mp3?versionId=1", "S3://others/copy.mp3"),
                *("s3://key:secret@bucket/in/copy.mp3", str(files[0])),
            ):
                with pytest.raises(ServerError, match="below none of the folders") as caught:
                    named(outside)
                assert (caught.value.status, caught.value.code) == (403, "denied")
            assert service.stop() == 0
