"""The zygote and the fault layer of a session, and the table at its end."""

from __future__ import annotations

import pytest
from fault_scenes import Inputs, make_inputs
from faults import SEED, Tally, Zygote, build_layer


@pytest.fixture(scope="session")
def layer(tmp_path_factory):
    """Return the fault layer; None where it cannot be built."""
    return build_layer(tmp_path_factory.mktemp("layer"))


@pytest.fixture(scope="session")
def zygote(tmp_path_factory, layer):
    """Return the process that runs commands, without a fault until one is armed."""
    made = Zygote(layer, tmp_path_factory.mktemp("zygote"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def inputs(tmp_path_factory) -> Inputs:
    """Return music, submissions and weights for all scenes."""
    return make_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture
def needs_layer(layer):
    """Skip where there is no fault layer."""
    if layer is None:
        pytest.skip("no fault layer: it needs Linux and a C compiler named cc")


@pytest.fixture
def tally(record_property):
    """Return a function that begins the tally of a part."""
    return lambda part: Tally(part, record_property)


def pytest_terminal_summary(terminalreporter):
    """Print tried, survived and failed of every part."""
    rows = [
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", "") == "call"
        for name, value in report.user_properties
        if name == "faults"
    ]
    if not rows:
        return
    terminalreporter.section(f"faults, SEED={SEED}")
    width = max(len(row[0]) for row in rows)
    terminalreporter.line(f"{'part':{width}}  {'tried':>8} {'survived':>8} {'failed':>8}")
    for part, *counts in sorted(rows):
        terminalreporter.line(f"{part:{width}}  " + " ".join(f"{n:8,}" for n in counts))
    sums = [sum(row[i] for row in rows) for i in (1, 2, 3)]
    terminalreporter.line(f"{'all':{width}}  " + " ".join(f"{n:8,}" for n in sums))
