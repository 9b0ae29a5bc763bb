"""Workspaces: where they lie, who may write, and what a reader may do meanwhile."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from pathlib import Path

import forks
import pytest

from auditor.calibration.thresholds import shipped_directory
from auditor.errors import CatalogueError, UsageError, WeightsError, WorkspaceLockedError
from auditor.ingest.session import ingest
from auditor.workspace import (
    HOLDER,
    lock_holder,
    lock_workspace,
    open_workspace,
    require_tracks,
    workspace_directory,
)


def test_the_folder_is_the_one_given_else_the_environment_s_else_the_default(monkeypatch):
    monkeypatch.delenv("AUDIT_WORKSPACE", raising=False)
    assert workspace_directory() == Path(".audit")
    monkeypatch.setenv("AUDIT_WORKSPACE", "/elsewhere")
    assert workspace_directory() == Path("/elsewhere")
    assert workspace_directory("here") == Path("here")


def test_opening_makes_the_workspace_and_closing_frees_it(tmp_path, tiny_weights):
    folder = tmp_path / "new" / "ws"
    for _ in range(2):
        with open_workspace(folder, extractor=tiny_weights, write=True) as workspace:
            assert workspace.catalogue.tracks() == []
            assert workspace.writable
            assert workspace.weights_id == workspace.extractor.weights_id
            assert tiny_weights.stem.endswith(workspace.weights_id)
            assert workspace.index_directory == folder / "index"
            assert workspace.threshold_directories == (folder / "thresholds", shipped_directory())
    assert (folder / "catalogue.sqlite3").is_file()


def test_a_second_writer_is_refused_and_a_reader_is_not(tmp_path, tiny_weights):
    with open_workspace(tmp_path, extractor=tiny_weights, write=True):
        with (
            pytest.raises(WorkspaceLockedError, match=r"in use by another audit\. Wait .* --works"),
            open_workspace(tmp_path, extractor=tiny_weights, write=True),
        ):
            pass
        with open_workspace(tmp_path, extractor=tiny_weights, write=False) as reader:
            assert reader.catalogue.tracks() == []
            assert not reader.writable
    with lock_workspace(tmp_path):
        pass


def test_who_holds_the_lock_is_told_and_waited_for(tmp_path):
    said = []
    with contextlib.ExitStack() as holder:
        holder.enter_context(lock_workspace(tmp_path))
        assert lock_holder(tmp_path).startswith(f"process {os.getpid()}")
        assert re.search(r", since \d{4}-\d\d-\d\dT[\d:]{8}Z$", lock_holder(tmp_path))
        with pytest.raises(WorkspaceLockedError, match=rf"It is process {os.getpid()}"):
            holder.enter_context(lock_workspace(tmp_path))

        def free(who):
            said.append(who)
            holder.close()

        with lock_workspace(tmp_path, on_wait=free):
            assert said[0].startswith(f"process {os.getpid()}")
    assert lock_holder(tmp_path) == ""
    assert not (tmp_path / HOLDER).exists()


@pytest.mark.parametrize("note", [b"{", b"[]", b'{"pid": []}', b"\xff", b""])
def test_a_damaged_note_of_the_holder_is_passed_over(tmp_path, note):
    with lock_workspace(tmp_path):
        (tmp_path / HOLDER).write_bytes(note)
        assert "since" not in lock_holder(tmp_path)


def test_an_error_inside_frees_the_lock(tmp_path, tiny_weights):
    with (
        pytest.raises(RuntimeError, match="inside"),
        open_workspace(tmp_path, extractor=tiny_weights, write=True),
    ):
        raise RuntimeError("inside")
    (tmp_path / "catalogue.sqlite3").write_bytes(b"this is no database" * 100)
    with (
        pytest.raises(CatalogueError, match="not an SQLite file"),
        open_workspace(tmp_path, extractor=tiny_weights, write=True),
    ):
        pass
    with lock_workspace(tmp_path):
        pass


HOLD = """
import sys, time
from pathlib import Path
from auditor.workspace import lock_workspace
with lock_workspace(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    process, said = forks.start_reading(HOLD, tmp_path)
    try:
        assert said.readline() == "held\n"
        with pytest.raises(WorkspaceLockedError, match="in use"), lock_workspace(tmp_path):
            pass
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        said.close()
    with lock_workspace(tmp_path):
        pass


def test_a_workspace_is_opened_for_reading_unless_asked(tmp_path, tiny_weights):
    with open_workspace(tmp_path, extractor=tiny_weights, write=True):
        pass
    with open_workspace(tmp_path, extractor=tiny_weights) as reader:
        assert not reader.writable
        with pytest.raises(ValueError, match="open it with write=True"):
            ingest(reader, [])


def test_a_reader_makes_nothing(tmp_path, tiny_weights):
    with (
        pytest.raises(CatalogueError, match=r"no catalogue at .*; run: audit scan DIR"),
        open_workspace(tmp_path / "absent", extractor=tiny_weights, write=False),
    ):
        pass
    assert not (tmp_path / "absent").exists()


def test_a_file_in_place_of_the_folder(tmp_path, tiny_weights):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UsageError, match=r"cannot be used as a workspace: .* another --workspace"),
        open_workspace(tmp_path / "file", extractor=tiny_weights, write=True),
    ):
        pass


def test_an_unknown_extractor_leaves_no_workspace_behind(tmp_path):
    with (
        pytest.raises(WeightsError, match="no extractor nosuch"),
        open_workspace(tmp_path / "ws", extractor="nosuch", write=True),
    ):
        pass
    assert not (tmp_path / "ws").exists()


def test_require_tracks_names_the_extractor(tmp_path, tiny_weights):
    with open_workspace(tmp_path, extractor=tiny_weights, write=True) as workspace:
        require_tracks(workspace, 1)
        with pytest.raises(
            CatalogueError, match=rf"no track embedded by tiny \({workspace.weights_id}\)\. Run:"
        ):
            require_tracks(workspace, 0)
