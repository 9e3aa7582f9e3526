"""`make setup` on a machine whose Python cannot make a virtual environment at first."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# A virtual environment's Python, without or with pip, that notes how it is called.
VENV_PYTHON = """#!/bin/sh
echo "$@" >> calls
case "$*" in *" pip "*) exit {code};; esac
"""
# A machine's Python: its venv module makes that one, and fails as Debian's does without python3-venv.
PYTHON = """#!/bin/sh
case "$*" in
  "-m venv "*) echo "$@" >> calls; mkdir -p .venv/bin; cp venv-python .venv/bin/python; exit {code};;
  *) exec {real} "$@";;
esac
"""


def run_make(folder: Path, *, code: int) -> subprocess.CompletedProcess[str]:
    """Run `make setup` with a Python whose venv module, and the pip in what it makes, end with this code."""
    for name, text in (("venv-python", VENV_PYTHON), ("python", PYTHON)):
        (folder / name).write_text(text.format(code=code, real=sys.executable))
        (folder / name).chmod(0o755)
    command = ["make", "setup", f"PYTHON={folder / 'python'}"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)


def test_a_half_made_environment_names_the_package_and_is_made_again(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for _ in range(2):  # the second finds the half-made one
        failed = run_make(tmp_path, code=1)
        assert failed.returncode != 0
        assert f"apt install python{version}-venv" in failed.stdout
    repaired = run_make(tmp_path, code=0)
    assert repaired.returncode == 0, repaired.stdout + repaired.stderr
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls.count("-m venv --clear .venv") == 3
    assert "--require-hashes" in calls[-2]
