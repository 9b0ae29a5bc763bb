"""auditor.search.index_file: both indexes describe their data by one kind of sidecar."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from typing import ClassVar

import pytest

from auditor.search import index_file
from auditor.search.annoy_file import AnnoySidecar
from auditor.search.excerpts.shards import ShardSidecar
from auditor.search.index_file import (
    Sidecar,
    check_data_file,
    pack_sidecar,
    put_files,
    read_data_file,
    unpack_sidecar,
)
from auditor.serialisation import partial_file


@dataclass(frozen=True)
class Described(Sidecar):
    layout: ClassVar[int] = 3

    n_items: int


SIDECAR = Described(3, "0.2.0", "0a1b2c3d", 7)


def test_a_sidecar_comes_back_as_it_was_packed():
    text = pack_sidecar(SIDECAR)
    assert unpack_sidecar(Described, text) == SIDECAR
    assert text.startswith(b'{"format_version": 3, "audit_version": "0.2.0", "weights_id": "0a1b')


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (pack_sidecar(SIDECAR).replace(b": 3", b": 4"), "format_version is 4; 3 was expected"),
        (pack_sidecar(SIDECAR).replace(b"n_items", b"items"), "unknown field 'items'"),
        (b"[]", "sidecar is a list"),
        (b"{", "Expecting"),
    ],
)
def test_a_sidecar_of_a_stranger_is_checked(text, message):
    with pytest.raises(ValueError, match=message):
        unpack_sidecar(Described, text)


def test_both_indexes_say_the_same_first():
    first = [field.name for field in dataclasses.fields(Sidecar)]
    for kind in (AnnoySidecar, ShardSidecar):
        assert [field.name for field in dataclasses.fields(kind)][:3] == first


@pytest.mark.parametrize("n_done", [0, 1, 2])
def test_a_write_killed_before_its_sidecar_leaves_the_old_one(tmp_path, monkeypatch, n_done):
    sidecar, put, n_calls = tmp_path / "index.json", index_file.put_in_place, 0
    sidecar.write_bytes(b"old")

    def killed(partial, path):
        nonlocal n_calls
        n_calls += 1
        if n_calls > n_done:
            raise KeyboardInterrupt
        put(partial, path)

    monkeypatch.setattr(index_file, "put_in_place", killed)
    monkeypatch.setattr("auditor.serialisation.put_in_place", killed)
    with partial_file(tmp_path) as one, partial_file(tmp_path) as two:
        data = [(one, tmp_path / "index.ann"), (two, tmp_path / "index.rows")]
        with pytest.raises(KeyboardInterrupt):
            put_files(data, sidecar, b"new")
    assert sidecar.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1 + n_done


def test_a_data_file_is_compared_by_size_and_hash(tmp_path):
    path = tmp_path / "index.ann"
    path.write_bytes(b"1234")
    right, wrong = (hashlib.sha256(data).hexdigest() for data in (b"1234", b"1235"))
    check_data_file(path, 4, right, hash_up_to=None)
    check_data_file(path, 4, wrong, hash_up_to=3)  # too large to be hashed
    assert read_data_file(path, 4, right) == b"1234"
    for check in (lambda *facts: check_data_file(*facts, hash_up_to=4), read_data_file):
        with pytest.raises(ValueError, match=r"^its SHA-256 is not the one in the sidecar$"):
            check(path, 4, wrong)
        with pytest.raises(ValueError, match=r"^it has 4 bytes of 5,000$"):
            check(path, 5000, right)
    with pytest.raises(ValueError, match=r"^the SHA-256 of index\.ann is not the one in the sidec"):
        read_data_file(path, 4, wrong, name=path.name)
    with pytest.raises(FileNotFoundError):
        check_data_file(tmp_path / "none", 4, right, hash_up_to=None)
