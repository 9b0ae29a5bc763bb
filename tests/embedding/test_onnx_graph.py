"""Graphs that are put together, and what their programs raise."""

from __future__ import annotations

import resource
import sys

import numpy as np
import pytest

from auditor.embedding.onnx_graph import Graph, fold_batch_norm


def squares():
    graph = Graph("squares")
    x = graph.input("x", ("n",))
    return graph.program(graph.add("Mul", x, x))


def test_a_program_does_what_its_graph_says():
    np.testing.assert_array_equal(squares()(np.array([2.0, 3.0], np.float32))[0], [4.0, 9.0])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_too_little_memory_is_told_as_such_and_once(capfd):
    program, values = squares(), np.ones(1 << 26, np.float32)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm", encoding="ascii") as file:
        taken = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + (1 << 26), hard))
    try:
        with pytest.raises(MemoryError):
            program(values)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert capfd.readouterr() == ("", "")


def test_other_faults_stay_what_they_are(capfd):
    with pytest.raises(Exception, match="INVALID_ARGUMENT"):
        squares()(np.ones(3))
    assert capfd.readouterr() == ("", "")


def test_what_float32_cannot_hold_is_not_folded():
    one = np.ones(2, np.float32)
    norm = {"weight": one, "bias": one, "running_mean": one, "running_var": 0 * one}
    weight, bias = fold_batch_norm(np.ones((2, 1), np.float32), None, norm)
    np.testing.assert_allclose([weight[0, 0], bias[0]], [1e5**0.5, 1 - 1e5**0.5], rtol=1e-6)
    with pytest.raises(ValueError, match="values that are not finite"):
        fold_batch_norm(np.full((2, 1), 1e37, np.float32), None, norm)
