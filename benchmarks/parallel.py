"""What several processes of one training do on two CPU cores: their rate beside one process's, and how they end.

    python -m benchmarks.parallel      # two minutes, into results/parallel.json

Each system is trained by one process and, through torchrun, by two, of one thread each, with the same minibatches. Then
one of two processes is killed, and the seconds until torchrun has ended the other are measured.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import write_json
from common.run.cli import guarded, utf8_output
from common.run.record import commit, environment
from common.train.loop import read_log
from common.typed import plain

ROOT = Path(__file__).resolve().parent.parent
RESULT = Path(__file__).parent / "results" / "parallel.json"
"""Where the figures are written."""
SYSTEMS = {"bahdanau2014": "demo/rnnsearch-50", "vaswani2017": "demo/big-enfr"}
"""Recipe that is trained, by paper."""
UPDATES, EACH = 120, 10
"""Updates of a training, and updates of a line of its log. The first line is left out."""
SETTINGS = [f"train.steps={UPDATES}", f"log_every={EACH}", "evaluate.average=1"]
SETTINGS += [f"{key}=1000" for key in ("checkpoint_every", "validate_every", "state_every")]


def command(processes: int, paper: str, recipe: str, out: Path, *words: str) -> list[str]:
    """Return the command line of a training."""
    launched = ["-m", "torch.distributed.run", f"--nproc-per-node={processes}"] if processes > 1 else []
    program = [sys.executable, *launched, "-m", f"papers.{paper}", "train", recipe, *SETTINGS, *words]
    return [*program, "--out", str(out), "--runs", str(out.parent / "data")]


def train(processes: int, paper: str, recipe: str, out: Path) -> dict[str, Any]:
    """Train and return the rate and the last loss."""
    subprocess.run(command(processes, paper, recipe, out), cwd=ROOT, check=True, capture_output=True)
    log = [entry for entry in read_log(out) if "loss" in entry]
    return {
        "system": f"{paper}/{recipe}",
        "processes": processes,
        "milliseconds_per_update": round(1000 / statistics.median(row["updates_per_second"] for row in log[1:]), 1),
        "last_loss": log[-1]["loss"],
    }


def seconds_until_the_end(paper: str, recipe: str, out: Path) -> float:
    """Kill one of two processes in the middle of a training. Return the seconds until all have ended."""
    torchrun = subprocess.Popen(
        command(2, paper, recipe, out, "train.steps=100000"),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not read_log(out):
        if torchrun.poll() is not None:
            raise UserError(f"{out}: the training ended before a process could be killed")
        time.sleep(0.05)
    found = subprocess.run(["pgrep", "-P", str(torchrun.pid)], capture_output=True, text=True, check=True)
    started = time.monotonic()
    os.kill(int(found.stdout.split()[-1]), signal.SIGKILL)
    torchrun.wait()
    return round(time.monotonic() - started, 1)


def main() -> None:
    """Measure both papers, print each figure and write them."""
    utf8_output()
    rows, ends = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for paper, recipe in SYSTEMS.items():
            for processes in (1, 2):
                rows.append(train(processes, paper, recipe, Path(folder) / f"{paper}-{processes}"))
                print(rows[-1], flush=True)
            ends[paper] = seconds_until_the_end(paper, recipe, Path(folder) / f"{paper}-killed")
            print(f"{paper}: ended {ends[paper]} s after one of two processes was killed", flush=True)
    figures = {"rows": rows, "seconds_until_the_end": ends, "settings": SETTINGS}
    write_json(RESULT, {**figures, "environment": plain(environment("cpu")), **commit(ROOT)})


if __name__ == "__main__":
    sys.exit(guarded(main, "python -m benchmarks.parallel"))
