"""The entry point: a signal ends the run, whatever swallows it and whatever is being imported."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import auditor

SWALLOWED = """
import weakref
class Thing: pass
def swallow(_):
    try:
        os.kill(os.getpid(), NUMBER)
        time.sleep(0)
    finally:
        print("swallowed", flush=True)
def run():
    thing = Thing()
    kept = weakref.ref(thing, swallow)
    del thing
    time.sleep(60)
"""

IN_IMPORT = """
def run():
    import slow
    time.sleep(60)
"""

CLEANED_UP = """
def run():
    try:
        os.kill(os.getpid(), NUMBER)
        time.sleep(60)
    finally:
        os.kill(os.getpid(), NUMBER)  # as timeout(1) does
        time.sleep(0.2)
        print("cleaned up", flush=True)
"""

IGNORED = """
def run():
    os.kill(os.getpid(), NUMBER)
    time.sleep(0.2)
    print("went on", flush=True)
"""


def run_main(body: str, tmp_path: Path, *, number: int = signal.SIGTERM, slow: str = ""):
    """Run ``auditor.__main__.main`` with another command line in place of ``auditor.cli``."""
    (tmp_path / "slow.py").write_text(slow)
    script = (
        f"import os, signal, sys, time\nNUMBER = {int(number)}\n{body}\n"
        "import auditor.cli\nauditor.cli.main = run\n"
        "from auditor.__main__ import main\nmain()\n"
    )
    roots = os.pathsep.join([str(Path(auditor.__file__).parents[1]), str(tmp_path)])

    def heed():  # a job in the background ignores the one, one below nohup the other
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)

    return subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": roots},
        capture_output=True,
        text=True,
        timeout=50,
        preexec_fn=heed,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_run_with_its_code_and_one_line(tmp_path, number):
    done = run_main("def run():\n    os.kill(os.getpid(), NUMBER)", tmp_path, number=number)
    assert (done.returncode, done.stderr) == (128 + number, "audit: stopped\n")


def test_one_that_a_callback_swallows_comes_again(tmp_path):
    done = run_main(SWALLOWED, tmp_path)
    assert (done.returncode, done.stdout) == (143, "swallowed\n")
    assert done.stderr == "audit: stopped\n"  # no "Exception ignored in"


def test_a_short_import_is_not_broken_off(tmp_path):
    slow = "import os, time\nos.kill(os.getpid(), 15)\nfor _ in range(8): time.sleep(0.01)\n"
    slow += "print('imported', flush=True)\n"  # within the import, where nothing is raised
    done = run_main(IN_IMPORT, tmp_path, slow=slow)
    assert (done.returncode, done.stdout) == (143, "imported\n")
    assert done.stderr == "audit: stopped\n"


def test_a_long_import_is_not_waited_for(tmp_path):
    slow = "import os, time\nos.kill(os.getpid(), 15)\nfor _ in range(4000): time.sleep(0.01)\n"
    started = time.monotonic()
    done = run_main(IN_IMPORT, tmp_path, slow=slow)
    assert (done.returncode, done.stdout, done.stderr) == (143, "", "audit: stopped\n")
    assert time.monotonic() - started < 20


def test_a_second_sigterm_does_not_break_off_the_cleaning_up(tmp_path):
    done = run_main(CLEANED_UP, tmp_path)
    assert (done.returncode, done.stdout) == (143, "cleaned up\n")


def test_a_second_ctrl_c_breaks_it_off(tmp_path):
    done = run_main(CLEANED_UP, tmp_path, number=signal.SIGINT)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "audit: stopped\n")


def test_what_nohup_has_ignored_stays_ignored(tmp_path):
    body = f"signal.signal({int(signal.SIGHUP)}, signal.SIG_IGN)\n{IGNORED}"
    done = run_main(body, tmp_path, number=signal.SIGHUP)
    assert (done.returncode, done.stdout, done.stderr) == (0, "went on\n", "")
