"""torchaudio with and without its compiled extension, in fresh interpreters."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from auditor.embedding.torch_audio import extension_stub, transforms

REPOSITORY = Path(__file__).parents[2]
TRANSFORMS = "from torchaudio._extension import _IS_ALIGN_AVAILABLE, fail_if_no_align\n"
ASK = (
    "import sys\n"
    "from auditor.errors import AuditError\n"
    "from auditor.embedding.torch_audio import transforms\n"
    "try:\n    found = transforms()\n"
    "except AuditError as error:\n    found = error\n"
    "stub = getattr(sys.modules.get('torchaudio._extension'), '__file__', 'stub')\n"
    "print(type(found).__name__, '|', found, '|', stub or 'none')\n"
)


def answer(folder, *, extension: str, transforms: str = TRANSFORMS, cuda: str | None = None) -> str:
    """Run transforms() beside a torchaudio and a torch of these contents."""
    for name, text in {
        "torchaudio/__init__.py": "from torchaudio import _extension\n",
        "torchaudio/_extension/__init__.py": extension,
        "torchaudio/transforms/__init__.py": transforms,
        "torch/__init__.py": f"class version:\n    cuda = {cuda!r}\n",
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return ask(ASK, [folder, REPOSITORY])


def ask(code: str, path: list[Path], *flags: str) -> str:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path))}
    run = subprocess.run(
        [sys.executable, *flags, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.parametrize("error", ["OSError", "ImportError"])
def test_a_failing_extension_is_replaced(tmp_path, error):
    said = answer(tmp_path, extension=f"raise {error}('libcudart.so.13: cannot open')\n")
    assert said.startswith("module | <module 'torchaudio.transforms'")
    assert said.rstrip().endswith("| stub")


def test_a_working_extension_is_kept(tmp_path):
    working = "_IS_ALIGN_AVAILABLE = True\ndef fail_if_no_align(f): return f\n"
    said = answer(tmp_path, extension=working)
    assert said.startswith("module | <module 'torchaudio.transforms'")
    assert said.rstrip().endswith(str(Path("_extension", "__init__.py")))


def test_beside_a_cuda_torch_the_failure_is_told(tmp_path):
    said = answer(tmp_path, extension="raise OSError('libfoo')\n", cuda="13.0")
    assert said.startswith("AuditError | torchaudio cannot be imported: libfoo.")


def test_a_failure_for_another_reason_is_told_and_leaves_no_stub(tmp_path):
    said = answer(
        tmp_path, extension="raise OSError('libfoo')\n", transforms="raise ImportError('libbar')\n"
    )
    assert said.startswith("AuditError | torchaudio cannot be imported beside this CPU build")
    assert "libbar" in said
    assert "torchaudio._extension" not in said


def test_a_missing_torchaudio_is_told():
    said = ask(ASK, [REPOSITORY], "-S")  # without any installed package
    assert "torchaudio is not installed. Run: pip install torchaudio" in said


def test_a_module_that_torchaudio_lacks_is_no_missing_torchaudio(tmp_path):
    (tmp_path / "torchaudio").mkdir()
    (tmp_path / "torchaudio/__init__.py").write_text("import surely_not_there\n")
    code = ASK.replace("except AuditError", "except ModuleNotFoundError")
    assert "No module named 'surely_not_there'" in ask(code, [tmp_path, REPOSITORY])


def test_the_installed_torchaudio_works():
    tools = transforms()
    assert tools.Spectrogram(n_fft=64).n_fft == 64
    assert transforms() is tools


def test_what_needs_the_extension_says_so():
    stub = extension_stub()

    @stub.fail_if_no_align
    def forced_align():
        return 1

    with pytest.raises(RuntimeError, match="forced_align needs torchaudio's compiled extension"):
        forced_align()
    assert stub._check_cuda_version() is None
