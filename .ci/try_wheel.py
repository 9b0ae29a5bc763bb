"""Install the wheel of ``dist/`` into an empty environment and scan a little music with it.

Packages come from the environment that runs this: only the wheel itself is under test.
"""

from __future__ import annotations

import math
import os
import struct
import subprocess
import sys
import tempfile
import venv
import wave
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def write_tone(path: Path, hz: float) -> None:
    """Write five seconds of a wavering tone."""
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        values = (math.sin(hz * i / 2546 + 3 * math.sin(i / 9000)) for i in range(80_000))
        file.writeframes(b"".join(struct.pack("<h", int(9000 * value)) for value in values))


def main() -> int:
    """Return 0 if the wheel installs, names its version, and finds a planted copy."""
    (wheel,) = (ROOT / "dist").glob("*.whl")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        venv.create(folder / "env", with_pip=True)
        python = folder / "env/bin/python"
        pip = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
        subprocess.run([*pip, wheel], check=True)
        (site,) = (folder / "env/lib").glob("python*/site-packages")
        packages = next(path for path in sys.path if path.endswith("site-packages"))
        (site / "packages.pth").write_text(packages + "\n")  # behind the wheel itself
        (folder / "music").mkdir()
        for i in range(3):
            write_tone(folder / f"music/{i}.wav", 440.0 * 1.3**i)
        (folder / "music/copy.wav").write_bytes((folder / "music/0.wav").read_bytes())
        audit = folder / "env/bin/audit"
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        version = subprocess.run(
            [audit, "--version"],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        scan = subprocess.run(
            [audit, "scan", "music", "--format", "csv"],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        if scan.returncode != 1 or "identical file" not in scan.stdout:
            print(scan.stdout, scan.stderr, sep="\n", file=sys.stderr)
            return 1
    print(f"{wheel.name}: {version}, finds a copy away from its source")
    return 0


if __name__ == "__main__":
    sys.exit(main())
