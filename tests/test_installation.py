"""Where and how the repository can be used: from its checkout, on Linux and macOS, with the Pythons that it names."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.conftest import ROOT

FIRST, LAST = (3, 10), (3, 14)
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def shell(script: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script in no virtual environment."""
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    return subprocess.run(["bash", str(script)], env=environment | variables, capture_output=True, text=True)


def stub(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """reproduce.sh in a folder of its own, without a virtual environment."""
    return Path(shutil.copy(ROOT / "reproduce.sh", tmp_path))


def python_of(version: tuple[int, ...], path: Path) -> Path:
    """Make an interpreter that claims to have that version.

    It ends with status 77 when it is asked to make an environment.
    """
    check = f'exec {sys.executable} -c "import sys; sys.version_info = {version}; exec(sys.argv[1])" "$2"'
    return stub(path, f'[ "$1" = -m ] && exit 77\n{check}')


@pytest.mark.parametrize("version", [(*FIRST, 0), (3, 11, 7), (3, 12, 1), (3, 13, 0), (*LAST, 2)])
def test_named_pythons_are_taken(version, script, tmp_path):
    assert shell(script, PYTHON=str(python_of(version, tmp_path / "python"))).returncode == 77


@pytest.mark.parametrize("version", [(2, 7, 18), (3, 9, 18), (3, LAST[1] + 1, 0)])
@pytest.mark.parametrize("active", [False, True], ids=["named", "environment"])
def test_other_pythons_are_refused_in_one_line(version, active, script, tmp_path):
    """The Python of an active environment is refused too, before pip fails on the pins."""
    python_of(version, tmp_path / "env/bin/python")
    variables = {"VIRTUAL_ENV": str(tmp_path / "env")} if active else {"PYTHON": str(tmp_path / "env/bin/python")}
    done = shell(script, **variables)
    assert done.returncode == 2 and done.stdout == ""
    assert re.fullmatch(r"reproduce\.sh: needs Python 3\.10 to 3\.14, .*\n", done.stderr)


def test_every_statement_of_the_pythons_agrees():
    readme, shown = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "reproduce.sh"))
    assert f'requires-python = ">=3.{FIRST[1]},<3.{LAST[1] + 1}"' in PYPROJECT
    assert re.findall(r"Python :: (3\.\d+)", PYPROJECT) == [f"3.{minor}" for minor in range(FIRST[1], LAST[1] + 1)]
    assert f"Python 3.{FIRST[1]} to 3.{LAST[1]}" in readme and f"Python 3.{FIRST[1]} to 3.{LAST[1]}" in shown


def test_pins_cover_the_dependencies_on_every_python():
    """One exact pin each, within what pyproject.toml allows; torch the same pin for all."""
    lists = re.findall(r"^(?:dependencies|test) = \[(.*?)\]", PYPROJECT, re.MULTILINE | re.DOTALL)
    wanted = {part.name: part for text in lists for part in map(Requirement, re.findall(r'"([^"]+)"', text))}
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith("#")]
    for minor in range(FIRST[1], LAST[1] + 1):
        here = [pin for pin in pins if pin.marker is None or pin.marker.evaluate({"python_version": f"3.{minor}"})]
        assert sorted(pin.name for pin in here) == sorted(wanted)
        for pin in here:
            assert re.fullmatch(r"==[\d.]+", str(pin.specifier)), pin
            assert wanted[pin.name].specifier.contains(str(pin.specifier)[2:]), pin
    assert [str(pin) for pin in pins if pin.name == "torch"] == ["torch==2.13.0"]


@pytest.mark.parametrize("words", [["."], ["--editable", "."]], ids=["plain", "editable"])
def test_pip_install_refuses_and_says_why(words, tmp_path):
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", str(tmp_path / "site")]
    done = subprocess.run([*pip, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0 and not (tmp_path / "site").exists()
    said = [line for line in (done.stdout + done.stderr).splitlines() if "is used from its checkout" in line]
    assert len(said) == 1 and "./reproduce.sh" in said[0] and "PYTHONPATH" in said[0]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("module", ["papers.bahdanau2014", "papers.vaswani2017"])
def test_the_checkout_works_from_other_folders(module, tmp_path):
    words = [sys.executable, "-m", module, "--help"]
    done = subprocess.run(words, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True)
    assert done.returncode == 0 and b"translate" in done.stdout


@pytest.mark.parametrize("module", ["papers", "papers.bahdanau2014", "papers.vaswani2017"])
def test_a_system_that_cannot_fork_is_told_in_one_line(module):
    """Windows has neither `os.fork` nor `fcntl`."""
    code = (
        "import os, runpy, sys; del os.fork; sys.modules['fcntl'] = None; sys.argv = ['', 'plan', 'base'];"
        f"runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert re.fullmatch(r"attention-reproductions: needs Linux or macOS, not \S+; on Windows use WSL\n", done.stderr)


@pytest.mark.parametrize("system", ["MINGW64_NT-10.0-22631", "MSYS_NT-10.0", "CYGWIN_NT-10.0"])
def test_reproduce_is_told_on_windows_shells(system, script, tmp_path):
    stub(tmp_path / "bin/uname", f"echo {system}")
    done = shell(script, PATH=f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    assert (done.returncode, done.stderr) == (2, "reproduce.sh: needs Linux or macOS; on Windows use WSL\n")
