"""What a training shows: a bar on a terminal, lines elsewhere, at most one in ten seconds and always the last."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import sys
import termios
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import pytest

from common.progress import Meter, Standing, training_progress
from tests.conftest import ROOT

STEPS = 9


def standing(step: int) -> Standing:
    return Standing("demo/base", step, STEPS, 1, 1234.5678 / step, 9876.4, 3725.0)


def lines(monkeypatch: pytest.MonkeyPatch, times: list[float]) -> list[str]:
    """Return the lines that a training of one update at each of the `times` prints where there is no terminal."""
    told: list[str] = []
    clock = iter(times)
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    with training_progress("demo/base", 0, STEPS, told.append) as show:
        for step in range(1, len(times) + 1):
            show(standing(step))
    monkeypatch.undo()
    return told


def test_a_line_says_loss_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lines(monkeypatch, [5.0]) == [
        "demo/base update 1/9 epoch 1 loss 1234.568 nats/token, 9,876 target tokens/s, 1:02:05 left"
    ]


def test_lines_come_at_most_every_ten_seconds_and_the_last_always(monkeypatch: pytest.MonkeyPatch) -> None:
    told = lines(monkeypatch, [100.0, 101.0, 109.9, 110.0, 115.0, 119.9, 131.0, 131.1, 131.2])
    assert [line.split(" update ")[1].split("/")[0] for line in told] == ["1", "4", "7", "9"]


def test_a_remark_is_always_shown() -> None:
    told: list[str] = []
    with training_progress("demo/base", 0, STEPS, told.append) as show:
        for part in (standing(1), "compiled", standing(2), "compiled again"):
            show(part)
    assert told == [str(standing(1)), "compiled", "compiled again"]


PROGRAM = """
import time
from common.progress import training_progress
from tests.common.test_progress import standing
with training_progress("demo/base", 4, 9, print) as show:
    for step in range(5, 10):
        time.sleep(0.3)
        show(standing(step))
    show("a remark")
"""


def test_a_terminal_has_a_bar(tmp_path: Path) -> None:
    """In a pseudo-terminal of 80 columns. The bar starts where the training goes on, and prints no line."""
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(ROOT)
        fcntl.ioctl(2, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        os.execv(sys.executable, [sys.executable, "-c", PROGRAM])
    shown = b""
    while True:
        try:
            part = os.read(terminal, 4096)
        except OSError:  # Linux says so when the other end is closed
            break
        if not part:
            break
        shown += part
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0, shown.decode()
    lines = [line for line in shown.decode().replace("\n", "\r").split("\r") if line.strip()]
    bars = [line for line in lines if line.strip() != "a remark"]
    assert len(bars) == len(lines) - 1
    assert len(bars) >= 2 and all(line.startswith("demo/base: ") and len(line) <= 80 for line in bars), bars
    assert "| 9/9, " in bars[-1] and bars[-1].rstrip().endswith(" left, loss 137.174, 9,876 tokens/s")
    assert "100%|█" in bars[-1] and "nats/token" not in shown.decode()


def metered(stream: BinaryIO, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """Return the last line that a meter shows when every line was answered. Each answer waits for two lines."""
    monkeypatch.setattr("common.progress.QUIET_SECONDS", 0.0)
    meter = Meter(stream)
    lines = iter(meter)

    def answers() -> Iterator[str]:
        while taken := list(islice(lines, 2)):
            yield from (line.decode().upper() for line in taken)

    for answer in meter.shown(answers(), "translating"):
        assert answer == answer.upper()
        meter.written += 1
    assert meter.written == 5
    return capsys.readouterr().err.replace("\r", "\n").strip().split("\n")[-1]


def test_a_file_is_metered_by_its_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The time left follows from the bytes, of which the number is known. Lines are what is counted and paced."""
    path = tmp_path / "text"
    path.write_bytes(b"one\ntwo\n" + b"three " * 40 + b"\nfour\nfive")
    with path.open("rb") as stream:
        shown = metered(stream, monkeypatch, capsys)
    assert re.search(r"translating: 100%\|.*\| 00:00 left, 5 lines, [\d,.]+/s$", shown), shown


def test_a_stream_without_an_end_is_metered_by_its_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = metered(io.BytesIO(b"a\nb\nc\nd\ne\n"), monkeypatch, capsys)
    assert re.search(r"translating: 5.*line/s", shown), shown
