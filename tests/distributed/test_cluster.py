"""A scan on three raylets of this machine: the result of one process, whatever is killed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from small_audit import facts
from small_cluster import NODE
from tunes import tune

from auditor.api.compare import compare
from auditor.api.run import Options
from auditor.api.scan import scan
from auditor.audio.decode import write_audio
from auditor.audio.files import FoundFile, find_audio
from auditor.embedding.extractor import load_extractor, save_weights
from auditor.embedding.network import Network
from auditor.errors import AuditError, UsageError, WorkerDiedError
from auditor.records import result_from_json
from auditor.search.excerpts import shards as excerpt_shards
from auditor.workspace import open_workspace

ray = pytest.importorskip("ray")
pytest.importorskip("pyarrow")
from ray.cluster_utils import Cluster  # noqa: E402

from auditor.distributed import ray_tiles  # noqa: E402
from auditor.distributed.embedder import (  # noqa: E402
    RayEmbedder,
    Resources,
    embedding_resources,
    shards,
)
from auditor.distributed.embedding_shards import (  # noqa: E402
    pack_files,
    unpack_files,
    usable_files,
)
from auditor.distributed.ray_tasks import ray_cluster  # noqa: E402
from auditor.distributed.ray_tiles import RayTiles  # noqa: E402
from auditor.distributed.snapshot_reader import open_snapshot  # noqa: E402
from auditor.distributed.snapshot_writer import write_snapshot  # noqa: E402
from auditor.distributed.storage import Storage  # noqa: E402
from auditor.distributed.workers import check_ray_nodes  # noqa: E402
from auditor.ingest.prepare import SerialEmbedder  # noqa: E402
from auditor.scoring.track_reader import CatalogueReader  # noqa: E402

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.filterwarnings("ignore"),  # Ray's own, of sockets and files it leaves open
]

OPTIONS = Options(threshold=0.45, compositions=False)
N_TUNES = 10
DRIVER = """
import sys
from pathlib import Path
from test_cluster import on_cluster
if __name__ == "__main__":
    out = sys.stdout
    on_cluster(*sys.argv[1:5], say=lambda *done: print(*done, flush=True, file=out))
"""


@pytest.fixture(scope="module")
def weights(tmp_path_factory, tiny_config) -> Path:
    """Write an untrained extractor that says its d-vectors can be aligned."""
    torch.manual_seed(7)
    folder = tmp_path_factory.mktemp("weights")
    return save_weights(
        Network(tiny_config).weights(), folder, name="tiny", summary={"classes": "excerpt"}
    )


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    """Tunes, a copy, a file twice, silence, and a file that is no audio."""
    folder = tmp_path_factory.mktemp("library")
    for seed in range(N_TUNES):
        write_audio(folder / f"tune-{seed}.wav", tune(seed, duration_s=30.0), codec="wav")
    write_audio(folder / "copy.mp3", tune(0, duration_s=30.0), codec="mp3", bit_rate=64_000)
    shutil.copy(folder / "tune-1.wav", folder / "again.wav")
    write_audio(folder / "hush.wav", np.zeros(80_000, np.float32), codec="wav")
    (folder / "bad.mp3").write_bytes(b"no audio")
    return folder


@pytest.fixture(scope="module")
def expected(tmp_path_factory, library, weights) -> dict:
    """What one process says of the library."""
    with open_workspace(tmp_path_factory.mktemp("one"), extractor=weights, write=True) as workspace:
        return facts(scan(workspace, [library], options=OPTIONS))


def on_cluster(
    address: str,
    folder: str,
    library: str,
    weights: str,
    say: Callable[..., None] = lambda *_: None,
    storage: str = "",
) -> dict:
    """Scan on a cluster, in small shards and tiles, and say how far it is."""
    import auditor.scoring.candidates
    import auditor.scoring.examine

    auditor.scoring.examine.TILE_PAIRS, auditor.scoring.candidates.TILE_TRACKS = 5, 3
    shared = Storage(storage or f"{folder}/shared")
    with ray_cluster(address), open_workspace(folder, extractor=weights, write=True) as workspace:
        result = scan(
            workspace,
            [library],
            options=OPTIONS,
            embedder=RayEmbedder(workspace.extractor, shared, n_files=2),
            tiles=RayTiles(shared),
            on_event=lambda event: say("file", event.n_done),
            on_pair=lambda n_done, _: say("pair", n_done),
        )
    return facts(result)


def results_of(folder: Path) -> dict[str, tuple[int, int]]:
    """Return the files of shards and tiles, and what changes when one is written again."""
    return {
        path.name: (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in (folder / "shared").rglob("*")
        if path.is_file() and (path.name.startswith("done-") or path.parent.name == "embedded")
    }


def workers(cluster: Cluster, doing: str) -> list[int]:
    """Return the processes of the cluster's raylets that are at a task."""
    raylets = {
        info.process.pid
        for node in cluster.list_all_nodes()
        for info in node.all_processes.get("raylet", [])
    }
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            ppid = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            title = (folder / "cmdline").read_bytes()
            if ppid in raylets and title.startswith(f"ray::{doing}".encode()):
                found.append(int(folder.name))
    return found


def test_three_nodes_say_what_one_process_says(cluster, tmp_path, library, weights, expected):
    said = []
    found = on_cluster(cluster.address, tmp_path, library, weights, lambda *done: said.append(done))
    assert found == expected
    assert len(found["pairs"]) > 2
    assert [skipped["path"].rsplit("/", 1)[-1] for skipped in found["skipped"]] == ["bad.mp3"]
    n = found["n_pairs_compared"]
    assert [n_done for what, n_done in said if what == "file"] == list(range(1, N_TUNES + 5))
    assert [n_done for what, n_done in said if what == "pair"] == [*range(0, n, 5), n]
    done = results_of(tmp_path)
    assert on_cluster(cluster.address, tmp_path, library, weights) == expected
    assert results_of(tmp_path) == done
    catalogue = sorted((tmp_path / "shared").rglob("done-*"))
    catalogue[0].write_bytes(b"damaged")
    catalogue[1].unlink()
    # A workspace of its own: the first one remembers the pairs that it has examined.
    other, storage = tmp_path / "other", f"{tmp_path}/shared"
    assert on_cluster(cluster.address, other, library, weights, storage=storage) == expected
    assert results_of(tmp_path).keys() == done.keys()


def test_a_comparison_on_three_nodes_says_what_one_process_says(
    cluster, tmp_path, library, weights
):
    new = tmp_path / "new"
    new.mkdir()
    for seed in (0, 3, 90):
        write_audio(new / f"{seed}.mp3", tune(seed, duration_s=30.0), codec="mp3")
    with open_workspace(tmp_path / "one", extractor=weights, write=True) as workspace:
        alone = facts(compare(workspace, library, new, options=OPTIONS))
    shared = Storage(f"{tmp_path}/shared")
    with (
        ray_cluster(cluster.address),
        open_workspace(tmp_path / "two", extractor=weights, write=True) as workspace,
    ):
        embedder = RayEmbedder(workspace.extractor, shared, n_files=2)
        tiles = RayTiles(shared)
        how = {"options": OPTIONS, "embedder": embedder, "tiles": tiles}
        found = facts(compare(workspace, library, new, **how))
    assert found == alone
    assert sum(pair["flagged"] for pair in found["pairs"]) >= 3


def test_a_ledger_of_another_format_is_not_used(
    cluster, tmp_path, library, weights, expected, monkeypatch
):
    assert on_cluster(cluster.address, tmp_path, library, weights) == expected
    first = results_of(tmp_path)
    monkeypatch.setattr(ray_tiles, "TILES_FORMAT", ray_tiles.TILES_FORMAT + 1)
    other, storage = tmp_path / "other", f"{tmp_path}/shared"
    assert on_cluster(cluster.address, other, library, weights, storage=storage) == expected
    both = results_of(tmp_path)
    assert both.items() >= first.items()
    n_tiles = sum(name.startswith("done-") for name in first)
    assert len(both) == len(first) + n_tiles > len(first)


def test_killed_workers_change_nothing(cluster, tmp_path, library, weights, expected):
    killed = []

    def kill() -> None:
        for task in ("embed_shard", "do_tile"):
            while not (pids := workers(cluster, task)):
                time.sleep(0.01)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pids[0], signal.SIGKILL)
                killed.append(task)

    threading.Thread(target=kill, daemon=True).start()
    assert on_cluster(cluster.address, tmp_path, library, weights) == expected
    assert killed == ["embed_shard", "do_tile"]


@pytest.mark.parametrize("what", ["file", "pair"])
def test_a_killed_node_changes_nothing(cluster, tmp_path, library, weights, expected, what):
    doomed = cluster.add_node(**NODE)
    there = [doomed]

    def kill(said: str, n_done: int) -> None:
        if said == what and n_done >= 2 and there:
            cluster.remove_node(there.pop(), allow_graceful=False)

    assert on_cluster(cluster.address, tmp_path, library, weights, kill) == expected
    assert not there


@pytest.mark.parametrize("until", ["file 4", "pair 15"])
def test_a_killed_driver_goes_on_where_it_was(cluster, tmp_path, library, weights, expected, until):
    command = [sys.executable, "-c", DRIVER, cluster.address, tmp_path, library, weights]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path])
    }
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as driver:
        for line in driver.stdout:
            if line.strip() == until:
                driver.kill()
        assert driver.wait() == -signal.SIGKILL
    time.sleep(1.0)  # tasks that were under way may still be writing
    done = results_of(tmp_path)
    assert done
    assert on_cluster(cluster.address, tmp_path, library, weights) == expected
    assert results_of(tmp_path).items() >= done.items()


def test_a_file_that_kills_its_workers_is_named(cluster, tmp_path, weights):
    music = tmp_path / "music"
    music.mkdir()
    for seed in range(3):
        write_audio(music / f"{seed}.wav", tune(seed), codec="wav")
    write_audio(music / "killer.wav", np.tile(tune(9), 200), codec="wav")
    over = threading.Event()

    def lie_in_wait() -> None:
        while not over.wait(0.005):
            for link in Path("/proc").glob("[0-9]*/fd/*"):
                with contextlib.suppress(OSError):
                    if os.readlink(link) == str(music / "killer.wav"):
                        os.kill(int(link.parts[2]), signal.SIGKILL)

    with ray_cluster(cluster.address):
        embedder = RayEmbedder(load_extractor(weights), Storage(str(tmp_path / "shared")))
        thread = threading.Thread(target=lie_in_wait, daemon=True)
        thread.start()
        made = list(embedder.embed(find_audio([music]).files))
        over.set()
        thread.join()
    assert [bool(one.prepared) for one in made] == [True, True, True, False]
    assert "killer.wav: 2 workers died on it" in str(made[3].error)


def test_the_command_scans_on_a_cluster(cluster, tmp_path, library, weights, expected):
    command = [Path(sys.executable).with_name("audit"), "scan", library, "--extractor", weights]
    command += ["--workspace", tmp_path / "ws", "--cluster", cluster.address, "--no-report"]
    command += ["--cluster-storage", f"file://{tmp_path}/storage", "--format", "json"]
    run = subprocess.run(
        [*command, "--no-compositions", "--threshold", "0.45"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1, run.stderr
    assert facts(result_from_json(run.stdout)) == expected
    assert (tmp_path / "storage" / "embedded").is_dir()


def test_an_object_store_serves_as_shared_storage(
    cluster, bucket, tmp_path, library, weights, expected
):
    if not bucket:
        pytest.skip("moto[server] and s3fs are not installed")
    import fsspec.config

    fsspec.config.set_conf_env(fsspec.config.conf)
    for _ in range(2):  # the second time everything is there
        found = on_cluster(cluster.address, tmp_path, library, weights, storage=bucket)
        assert found == expected
    assert not (tmp_path / "shared").exists()


def test_music_in_an_object_store_gives_what_a_folder_gives(
    cluster, bucket, tmp_path, library, weights, expected
):
    if not bucket:
        pytest.skip("moto[server] and s3fs are not installed")
    import fsspec.config

    fsspec.config.set_conf_env(fsspec.config.conf)
    store = fsspec.filesystem("s3")
    store.mkdir("music")
    for path in library.iterdir():
        store.put_file(str(path), f"music/all/{path.name}")
    said = json.loads(json.dumps(expected).replace(f"{library}/", "s3://music/all/"))
    with open_workspace(tmp_path / "alone", extractor=weights, write=True) as workspace:
        assert facts(scan(workspace, ["s3://music/all"], options=OPTIONS)) == said
    command = [Path(sys.executable).with_name("audit"), "scan", "s3://music/all", "--no-report"]
    command += ["--workspace", tmp_path / "ws", "--cluster", cluster.address, "--threshold", "0.45"]
    command += ["--cluster-storage", "s3://bucket/storage", "--extractor", weights]
    command += ["--format", "json", "--no-compositions"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 1, run.stderr
    assert facts(result_from_json(run.stdout)) == said
    assert store.find("bucket/storage/embedded")
    command[2] = "s3://music/none"
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "does not see s3://music/none" in run.stderr


def test_the_command_says_what_it_has_no_gpu_for(cluster, tmp_path, library):
    command = [Path(sys.executable).with_name("audit"), "scan", library, "--no-report"]
    command += ["--workspace", tmp_path / "ws", "--cluster", cluster.address]
    run = subprocess.run([*command, "--batch", "512"], capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "--batch 512 is for GPUs, and this cluster embeds on its cores" in run.stderr


def test_a_gpu_is_given_the_cores_of_its_node(cluster, tmp_path, library, weights):
    extractor, files = load_extractor(weights), find_audio([library]).files
    with ray_cluster(cluster.address):
        for device in ("cpu", "auto"):
            assert embedding_resources(device, None) == Resources()
            with pytest.raises(UsageError, match="--batch 64 is for GPUs"):
                embedding_resources(device, 64)
        with pytest.raises(UsageError, match="--device cuda: no node of the cluster has a GPU"):
            embedding_resources("cuda", None)
    nodes = [cluster.add_node(**NODE | {"num_cpus": 2}, num_gpus=1)]
    nodes.append(cluster.add_node(**NODE | {"num_cpus": 0}, num_gpus=1))  # nothing decodes there
    try:
        with ray_cluster(cluster.address):
            assert embedding_resources("cpu", None) == Resources()
            assert embedding_resources("cuda", 64) == Resources("cuda", 2, 1, 64)
            resources = embedding_resources("auto", None)
            assert (resources.device, resources.n_cores, resources.n_gpus) == ("auto", 2, 1)
            shared = Storage(str(tmp_path / "shared"))
            made = list(RayEmbedder(extractor, shared, resources=resources).embed(files))
            if not torch.cuda.is_available():  # Ray was told of one that torch does not find
                embedder = RayEmbedder(
                    extractor, shared / "other", resources=Resources("cuda", 2, 1)
                )
                with pytest.raises(UsageError, match="there is no GPU that torch can use"):
                    list(embedder.embed(files))
    finally:
        for node in nodes:
            cluster.remove_node(node)
    alone = list(SerialEmbedder([extractor]).embed(files))
    assert [one.found for one in made] == list(files)
    assert [one.sha256 for one in made] == [one.sha256 for one in alone]
    for here, there in zip(alone, made, strict=True):
        assert (here.prepared is None) == (there.prepared is None)
        if here.prepared is not None:
            a, b = (m.prepared.embedded.embeddings[extractor.weights_id] for m in (here, there))
            np.testing.assert_allclose(a.embedding, b.embedding, atol=1e-5)


def test_a_node_that_lacks_something_is_named(cluster, tmp_path):
    with ray_cluster(cluster.address):
        storage = Storage(str(tmp_path / "shared"))
        check_ray_nodes(storage, [os.fsencode(tmp_path)])
        with pytest.raises(UsageError, match=r"the node \S+ does not see /nowhere\. Give folders"):
            check_ray_nodes(storage, [b"/nowhere"])
        (tmp_path / "file").write_text("")
        with pytest.raises(UsageError, match=r"--cluster-storage .*file/x cannot be written to"):
            check_ray_nodes(Storage(str(tmp_path / "file" / "x")), [])


def test_what_a_worker_raises_arrives(cluster, tmp_path):
    with ray_cluster(cluster.address), pytest.raises(AuditError, match="No such file|lacks|failed"):
        embedder = RayEmbedder(load_extractor("excerpt"), Storage("/proc/nowhere"))
        list(embedder.embed(find_audio([__file__]).files))


def test_no_cluster_is_told(tmp_path):
    for address in ("127.0.0.1:9", "nonsense", "ray://127.0.0.1:9"):
        with (
            pytest.raises(UsageError, match=rf"no Ray cluster answers at {address}: .*ray start"),
            ray_cluster(address),
        ):
            pass


# Without a cluster.


def test_a_shard_holds_what_became_of_its_files(tmp_path, library, weights):
    extractor = load_extractor(weights)
    files = find_audio([library]).files
    made = list(SerialEmbedder([extractor]).embed(files))
    back = unpack_files(pack_files(made, extractor.weights_id), extractor.weights_id)
    assert [one.found for one in back] == list(files)
    for given, read in zip(made, back, strict=True):
        assert read.sha256 == given.sha256
        assert str(read.error) == str(given.error)
        if given.prepared is None:
            continue
        a, b = given.prepared.embedded, read.prepared.embedded
        assert (a.info, a.duration_s, a.truncated, a.silent) == (
            b.info,
            b.duration_s,
            b.truncated,
            b.silent,
        )
        assert given.prepared.tags == read.prepared.tags
        np.testing.assert_array_equal(a.spectrum, b.spectrum)
        for name in ("embedding", "dvectors", "levels"):
            np.testing.assert_array_equal(
                getattr(a.embeddings[extractor.weights_id], name),
                getattr(b.embeddings[extractor.weights_id], name),
            )


def test_damaged_and_foreign_shards_are_refused(library, weights):
    extractor = load_extractor(weights)
    made = list(SerialEmbedder([extractor]).embed(find_audio([library]).files[:2]))
    data = pack_files(made, extractor.weights_id)
    for damaged in (data[:-9], data[9:], b""):
        with pytest.raises(ValueError, match="a shard is damaged"):
            unpack_files(damaged, extractor.weights_id)
    with pytest.raises(ValueError, match="of weights .*; other was expected"):
        unpack_files(data, "other")


def test_unreadable_and_changed_files_are_made_again(tmp_path, library, weights):
    import dataclasses

    extractor = load_extractor(weights)
    files = find_audio([library]).files
    made = list(SerialEmbedder([extractor]).embed(files))
    assert usable_files(made, files[3:5], frozenset()) == made[3:5]
    touched = dataclasses.replace(files[3], mtime_ns=1)
    assert usable_files(made, [touched], frozenset()) is None
    made[3] = dataclasses.replace(made[3], prepared=None, error=OSError(13, "Permission denied"))
    assert usable_files(made, files[3:4], frozenset()) is None
    died = WorkerDiedError("its process died twice")
    made[3] = dataclasses.replace(made[3], error=died)
    assert usable_files(made, files[3:4], frozenset()) is None
    made[3] = dataclasses.replace(made[3], error=None)
    assert usable_files(made, files[3:4], frozenset()) is None
    assert usable_files(made, files[3:4], {made[3].sha256}) == made[3:4]


def test_shards_end_at_the_same_files_when_the_first_ones_are_stored():
    files = [FoundFile(f"/music/{n:05}.mp3".encode(), 1, 1) for n in range(2000)]
    whole = list(shards(files, 8))
    assert [found for shard in whole for found in shard] == files
    assert max(len(shard) for shard in whole) == 16
    ends = {shard[-1] for shard in whole}
    for n_stored in (1, 100, 777):
        rest = list(shards(files[n_stored:], 8))
        n_other = sum(len(shard) for shard in rest if shard[-1] not in ends)
        assert n_other <= 32  # only up to the next end that a hash decides


def test_a_snapshot_reads_as_the_catalogue_does(tmp_path, library, weights):
    with open_workspace(tmp_path / "ws", extractor=weights, write=True) as workspace:
        scan(workspace, [library], options=OPTIONS)
        reader = CatalogueReader.of(workspace)
        storage = Storage(str(tmp_path / "shared"))
        snapshot = write_snapshot(storage, reader, with_excerpts=True)
        assert write_snapshot(storage, reader, with_excerpts=True) is snapshot
        ids, embeddings = reader.tracks()
        np.testing.assert_array_equal(snapshot.embeddings(1, 7), embeddings[1:7])
        for track_id in ids:
            assert snapshot.content(track_id) == reader.content(track_id)
            np.testing.assert_array_equal(snapshot.spectrum(track_id), reader.spectrum(track_id))
            for one, other in zip(
                snapshot.dvectors(track_id), reader.dvectors(track_id), strict=True
            ):
                np.testing.assert_array_equal(one, other)
        index, _ = snapshot.excerpts()
        assert index.ids == tuple(ids)
        assert index.uncovered == ()
        with pytest.raises(AuditError, match="has no track 'nobody'"):
            snapshot.content("nobody")
        for name in ("embeddings-00000.parquet", "tracks-00000.parquet"):
            (snapshot.storage.folder / name).write_bytes(b"damaged")
        fresh = open_snapshot.__wrapped__(snapshot.storage)
        with pytest.raises(AuditError, match="embeddings-00000.parquet is missing or damaged"):
            fresh.embeddings(0, 1)
        with pytest.raises(AuditError, match="tracks-00000.parquet is missing or damaged"):
            fresh.dvectors(ids[0])
    with pytest.raises(AuditError, match="snapshot.json cannot be used"):
        open_snapshot(Storage(str(tmp_path / "nowhere")))


def damage(shard: Path) -> None:
    """Turn a bit in the middle of what the backend of a shard reads."""
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.unlink()  # who has it open keeps it
    shard.write_bytes(data)


def test_a_damaged_index_is_refused_where_it_lies(tmp_path, library, weights, monkeypatch):
    monkeypatch.setattr(excerpt_shards, "VERIFY_BYTES", 0)  # as if it were a large one
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with open_workspace(tmp_path / "ws", extractor=weights, write=True) as workspace:
        scan(workspace, [library], options=OPTIONS)
        reader = CatalogueReader.of(workspace)
        there = write_snapshot(Storage(str(tmp_path / "shared")), reader, with_excerpts=True)
        afar = write_snapshot(Storage("memory://audit-index"), reader, with_excerpts=True)
    ids = tuple(reader.tracks()[0])
    copy = tmp_path / f"audit-{os.getuid()}" / f"index-{afar.manifest.key}"
    assert afar.excerpts()[0].ids == ids
    assert {path.stem for path in copy.iterdir()} == set(afar.manifest.index)
    for snapshot, folder, said in (
        (there, there.storage.folder, "shared"),
        (afar, copy, f"{copy} of "),
    ):
        (shard,) = folder.glob("*.ann")
        damage(shard)
        fresh = open_snapshot.__wrapped__(snapshot.storage)
        with pytest.raises(AuditError, match=f"{said}.*: the shard {shard.stem} is missing or"):
            fresh.excerpts()
    shutil.rmtree(copy)
    assert open_snapshot.__wrapped__(afar.storage).excerpts()[0].ids == ids
    copy.parent.chmod(0o777)
    with pytest.raises(AuditError, match="is open to other users"):
        open_snapshot.__wrapped__(afar.storage).excerpts()


def test_storage_is_whole_or_not_there(tmp_path):
    storage = Storage(f"file://{tmp_path}/a b") / "sub"
    assert storage.names() == set()
    assert storage.read("x") is None
    storage.write("x", b"one")
    storage.write("x", b"two")
    assert storage.read("x") == b"two"
    assert storage.names() == {"x"}
    assert [path.name for path in (tmp_path / "a b" / "sub").iterdir()] == ["x"]
    with pytest.raises(UsageError, match="--cluster-storage nowhere://x"):
        Storage("nowhere://x").read("y")
    memory = Storage("memory://audit-test")
    memory.write("deep/x", b"three")
    assert (memory.folder, memory.read("deep/x"), (memory / "deep").names()) == (
        None,
        b"three",
        {"x"},
    )
