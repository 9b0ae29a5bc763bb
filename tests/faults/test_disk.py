"""Kills, full disks and broken disks at the operations of the commands that write."""

from __future__ import annotations

import pytest
from fault_scenes import SCENES, Inputs, Scene
from faults import (
    BROKEN,
    COUNT,
    FINE,
    FULL,
    KILL,
    End,
    Zygote,
    amount,
    catalogue_fault,
    even_sample,
    fresh_copy,
    same_answer,
    sized,
)

SIGKILLED = -9
FAULTS = {"kill": KILL, "disk full": FULL, "EIO": BROKEN}
N_CASES = {"kill": 24, "disk full": 8, "EIO": 14}
"""Operations that are tried for each command, of all of them with FAULTS=all."""


class Stage:
    """A scene made ready: its template, how its command ends without a fault, and its outcome."""

    def __init__(self, scene: Scene, zygote: Zygote, inputs: Inputs, folder) -> None:
        self.scene, self.zygote, self.inputs = scene, zygote, inputs
        self.template, self.case = folder / "template", folder / "case"
        self.template.mkdir()
        # Prepared where it is used, since reports and results name their paths.
        self.case.mkdir()
        scene.prepare(zygote, inputs, self.case)
        fresh_copy(self.case, self.template)
        self.reference = self.run(COUNT, 0)
        assert self.reference.code in FINE, self.reference.stderr
        self.outcome = scene.outcome(zygote, inputs, self.case)

    def run(self, mode: int, n: int) -> End:
        fresh_copy(self.template, self.case)
        command = self.scene.command(self.inputs, self.case)
        return self.zygote.audit(*command, arm=(self.case, mode, n))

    def fault(self, mode: int, n: int) -> str:
        """Return what goes wrong when the n-th operation fails, empty if nothing does."""
        end = self.run(mode, n)
        where = f"({end.what})"
        if end.n_fired and mode == KILL:
            wrong = end.fault(codes=[SIGKILLED])
        elif end.code == self.reference.code:  # the fault did not matter; the answer must be whole
            wrong = end.fault()
            if self.scene.name != "train" and not same_answer(end, self.reference):
                wrong = wrong or "ended well, with another answer"
        else:
            wrong = end.fault(codes=[2])
        wrong = wrong or catalogue_fault(self.case / "ws")
        if wrong:
            return f"{where} {wrong}"
        again = self.zygote.audit(*self.scene.command(self.inputs, self.case))
        if wrong := again.fault(codes=[self.reference.code]):
            return f"{where} run again: {wrong}"
        if self.scene.outcome(self.zygote, self.inputs, self.case) != self.outcome:
            return f"{where} run again: another result"
        return ""


@pytest.mark.parametrize(("name", "size"), sized(SCENES, ["decide"]))
def test_disk(name, size, zygote, inputs, tally, tmp_path, needs_layer):
    stage = Stage(SCENES[name], zygote, inputs, tmp_path)
    n_operations = stage.reference.n_operations
    assert n_operations > 3, "the layer sees the command's operations"
    with tally(f"disk: {name}, {n_operations} operations") as found:
        for fault, mode in FAULTS.items():
            n_wanted = amount(size, 2, N_CASES[fault], n_operations)
            for n in even_sample(n_operations, n_wanted):
                found.case(f"{fault} at operation {n}", stage.fault(mode, n))
