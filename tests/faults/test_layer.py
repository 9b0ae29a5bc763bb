"""The fault layer and the tally themselves: they see what they are for."""

from __future__ import annotations

import errno
import os
import signal

import pytest
from faults import BROKEN, COUNT, FULL, KILL, Job, Tally, even_sample

WRITTEN = {
    (COUNT, 0): {"one": 10, "two": 10},
    (KILL, 1): {},
    (KILL, 2): {"one": 5},
    (KILL, 3): {"one": 10},
    (KILL, 4): {"one": 10, "two": 5},
    (FULL, 2): {"one": 0},
    (BROKEN, 4): {"one": 10, "two": 0},
}
"""Sizes of the files after a fault at the n-th of four operations."""


@pytest.mark.parametrize(("mode", "n"), WRITTEN)
def test_the_layer_fails_at_the_operation(mode, n, zygote, tmp_path, needs_layer):
    job = Job([tmp_path], call="fault_drivers:write_two", arm=(tmp_path, mode, n))
    (end,) = zygote.run(job)
    assert {path.name: path.stat().st_size for path in tmp_path.iterdir()} == WRITTEN[mode, n]
    number = {FULL: errno.ENOSPC, BROKEN: errno.EIO}.get(mode)
    if number is not None:
        assert os.strerror(number) in end.stderr
        assert "Traceback" in end.fault(codes=[1])
    assert end.code == {COUNT: 0, KILL: -signal.SIGKILL}.get(mode, 1)
    assert (end.n_operations, end.n_fired) == ((n or 4), int(mode != COUNT))


def test_a_tally_with_a_failure_fails():
    recorded = []
    with (
        pytest.raises(AssertionError, match=r"part: 1 of 2 failed(.|\n)*b: lost"),
        Tally("part", lambda *row: recorded.append(row)) as found,
    ):
        found.case("a", "")
        found.case("b", "lost")
    assert recorded == [("faults", ["part", 2, 1, 1])]


def test_even_sample():
    assert even_sample(5, 9) == [1, 2, 3, 4, 5]
    assert even_sample(101, 3) == [1, 51, 101]
    assert even_sample(9, 1) == [5]
