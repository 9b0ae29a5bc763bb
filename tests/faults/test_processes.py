"""Kills at any moment, commands at the same time, signals, stopped decoders, and little memory."""

from __future__ import annotations

import signal

import pytest
from fault_scenes import (
    SCENES,
    THRESHOLD,
    Inputs,
    Scene,
    base,
    decide_command,
    scan_command,
    scanned_facts,
    with_catalogue,
)
from faults import (
    FINE,
    SIZES,
    End,
    Job,
    Zygote,
    amount,
    catalogue_fault,
    fresh_copy,
    same_answer,
    seeded,
)

MIB = 1 << 20
INTERRUPTED, TERMINATED = 130, 143
BUSY = ("in use by another audit", "another process is writing")

MANY = Scene(
    "scan -j 2",
    lambda *_: None,
    lambda inputs, folder: [
        *("scan", inputs.many, *base(inputs, folder), "--threshold", THRESHOLD, "--no-report"),
        *("-j", "2"),
    ],
    scanned_facts,
)
"""Enough files for workers of their own."""


class Stage:
    """A scene made ready, and its outcome without a fault."""

    def __init__(self, scene: Scene, zygote: Zygote, inputs: Inputs, folder) -> None:
        self.scene, self.zygote, self.inputs = scene, zygote, inputs
        self.template, self.case = folder / "template", folder / "case"
        self.case.mkdir(parents=True)
        scene.prepare(zygote, inputs, self.case)
        fresh_copy(self.case, self.template)
        self.reference = self.run()
        assert self.reference.code in FINE, self.reference.stderr
        self.outcome = scene.outcome(zygote, inputs, self.case)

    def run(self, **how) -> End:
        fresh_copy(self.template, self.case)
        return self.zygote.audit(*self.scene.command(self.inputs, self.case), **how)

    def aftermath(self) -> str:
        """Run the command again, undisturbed; return what is wrong then."""
        if wrong := catalogue_fault(self.case / "ws"):
            return wrong
        again = self.zygote.audit(*self.scene.command(self.inputs, self.case))
        if wrong := again.fault(codes=[self.reference.code]):
            return f"run again: {wrong}"
        if self.scene.outcome(self.zygote, self.inputs, self.case) != self.outcome:
            return "run again: another result"
        return ""


@pytest.mark.faults
@pytest.mark.parametrize(
    "scene",
    [*(SCENES[name] for name in ("scan", "check --add", "leak", "generated")), MANY],
    ids=str,
)
def test_kills_of_process_groups(scene, zygote, inputs, tally, tmp_path):
    stage = Stage(scene, zygote, inputs, tmp_path)
    with tally(f"kills of the process group: {scene.name}") as found:
        for i in range(amount("bounded", 0, 10, 50)):
            chance = seeded("group", scene.name, i)
            at_s = chance.uniform(0.0, stage.reference.seconds)
            end = stage.run(actions=[(at_s, "group", signal.SIGKILL)])
            wrong = end.fault(codes=[-signal.SIGKILL, stage.reference.code])
            found.case(f"kill {i} after {at_s:.2f} s", wrong or stage.aftermath())


SIGNALS = ((signal.SIGINT, INTERRUPTED), (signal.SIGTERM, TERMINATED))


@pytest.mark.faults
@pytest.mark.parametrize(("number", "code"), SIGNALS, ids=lambda value: str(int(value)))
def test_polite_signals(number, code, zygote, inputs, tally, tmp_path):
    stage = Stage(SCENES["scan"], zygote, inputs, tmp_path)
    with tally(f"{signal.Signals(number).name} to a scan") as found:
        for i in range(amount("bounded", 0, 10, 50)):
            at_s = seeded("signal", number, i).uniform(0.2, 1.0) * stage.reference.seconds
            end = stage.run(actions=[(at_s, "self", number)])
            wrong = end.fault(codes=[code, stage.reference.code])
            found.case(f"signal {i} after {at_s:.2f} s", wrong or stage.aftermath())


@pytest.mark.parametrize("size", SIZES)
def test_commands_at_once(size, zygote, inputs, tally, tmp_path):
    """Run commands at the same time on one workspace, some of them killed."""
    n_rounds = amount(size, 1, 15, 50)
    case, template = tmp_path / "case", tmp_path / "template"
    case.mkdir()
    with_catalogue(zygote, inputs, case)
    fresh_copy(case, template)
    where = base(inputs, case)
    quiet = ["--threshold", THRESHOLD, "--no-report", "-j", "1"]
    pool: list[list[object]] = [
        scan_command(inputs, case),
        ["scan", *where, *quiet],
        ["scan", *where, *quiet, "--search", "annoy"],
        ["check", inputs.new, *where, *quiet],
        ["check", inputs.new, "--add", *where, *quiet],
        decide_command(inputs, case),
        ["decide", "--export", "-", "-w", case / "ws"],
        ["catalogue", "list", "-w", case / "ws"],
        ["catalogue", "verify", "-w", case / "ws"],
        ["recommend", inputs.music / "a.wav", *where],
    ]
    last = (pool[0], pool[4], pool[5])  # whatever came before, they lead to the same state
    for command in last:
        assert zygote.audit(*command).code in FINE
    expected = scanned_facts(zygote, inputs, case)
    with tally(f"commands at once, {n_rounds} rounds") as found:
        for i in range(n_rounds):
            chance = seeded("at once", i)
            fresh_copy(template, case)
            jobs = []
            for command in chance.choices(pool, k=4):
                kill = [(chance.uniform(0.0, 2.0), "group", signal.SIGKILL)]
                jobs.append(Job(command, actions=kill if chance.random() < 0.2 else []))
            wrong = ""
            for job, end in zip(jobs, zygote.run(*jobs), strict=True):
                codes = [*FINE, 2, *([-signal.SIGKILL] if job.actions else [])]
                fault = end.fault(codes=codes)
                if not fault and end.code == 2 and not any(b in end.message for b in BUSY):
                    fault = f"refused: {end.message}"
                if fault:
                    wrong = wrong or f"{' '.join(str(a) for a in job.argv[:3])}: {fault}"
            wrong = wrong or catalogue_fault(case / "ws")
            for command in last:
                if not wrong:
                    wrong = zygote.audit(*command).fault(codes=FINE)
            if not wrong and scanned_facts(zygote, inputs, case) != expected:
                wrong = "another result in the end"
            found.case(f"round {i}", wrong)


@pytest.mark.faults
def test_stopped_decoders(zygote, inputs, tally, tmp_path):
    """Stop the decoder; then let it go on, kill it, or interrupt the command."""
    stop = (0.0, "decoder", signal.SIGSTOP)
    stage = Stage(SCENES["scan"], zygote, inputs, tmp_path)
    reference = stage.reference.code
    cases = {
        "goes on": ([(1.0, "decoder", signal.SIGCONT)], [reference]),
        "is killed": ([(0.5, "decoder", signal.SIGKILL)], FINE),
        "and Ctrl-C": ([(1.0, "self", signal.SIGINT)], [INTERRUPTED]),
    }
    with tally("a stopped decoder") as found:
        for name, (actions, codes) in cases.items():
            end = stage.run(actions=[stop, *actions])
            found.case(name, end.fault(codes=codes) or stage.aftermath())
        for i in range(amount("bounded", 0, 20, 200)):
            at_s = seeded("stopped", i).uniform(0.0, 1.0)
            end = stage.run(actions=[stop, (at_s, "self", signal.SIGINT)])
            found.case(f"and Ctrl-C after {at_s:.2f} s", end.fault(codes=[INTERRUPTED]))


@pytest.mark.faults
@pytest.mark.parametrize("name", ["scan", "check --add", "decide", "train"])
def test_little_memory(name, zygote, inputs, tally, tmp_path):
    """Run with a ceiling on address space, as ``ulimit -v`` sets one."""
    stage = Stage(SCENES[name], zygote, inputs, tmp_path)
    with tally(f"ulimit -v: {name}") as found:
        for n_mib in (16, 32, 64, 96, 128, 192, 256, 384, 512, 1024):
            end = stage.run(memory_bytes=n_mib * MIB)
            wrong = end.fault(codes=[stage.reference.code, 2])
            if not wrong and end.code in FINE and not same_answer(end, stage.reference):
                wrong = f"exit code {end.code} without the result: {end.message}"
            found.case(f"{n_mib} MB more than it begins with", wrong or stage.aftermath())
