"""The folder of a node is private, or refused."""

from __future__ import annotations

import os
import re
import stat
import tempfile

import pytest

from auditor.distributed.node_folder import node_folder
from auditor.errors import AuditError


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Where the folder is going to be."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / f"audit-{os.getuid()}"


def test_it_is_made_private_and_found_again(place):
    before = os.umask(0)
    try:
        assert node_folder() == place
    finally:
        os.umask(before)
    assert stat.S_IMODE(place.lstat().st_mode) == 0o700
    (place / "kept").write_text("")
    assert node_folder() == place
    assert (place / "kept").exists()


def refused(place, said):
    return pytest.raises(AuditError, match=rf"^{re.escape(str(place))} of \S+ {said}.*set TMPDIR")


def test_a_link_is_refused_even_to_a_folder_of_ours(place, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir(mode=0o700)
    place.symlink_to(mine)
    with refused(place, "is no folder"):
        node_folder()
    place.unlink()
    place.symlink_to(tmp_path / "nowhere")
    with refused(place, "is no folder"):
        node_folder()


def test_a_file_is_refused(place):
    place.write_text("")
    with refused(place, "is no folder"):
        node_folder()


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o750])
def test_a_folder_that_others_can_enter_is_refused(place, mode):
    place.mkdir()
    place.chmod(mode)
    with refused(place, rf"is open to other users \(mode {mode:04o}"):
        node_folder()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_refused(place):
    place.mkdir(mode=0o700)
    os.chown(place, 12345, 12345)
    with refused(place, "belongs to the user 12345; 0 was expected"):
        node_folder()


def test_a_place_that_cannot_hold_it_is_told(place, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(AuditError, match="cannot be made: No such file or directory. Set TMPDIR"):
        node_folder()
