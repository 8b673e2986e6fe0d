"""Whether a training that is stopped twenty times ends like one that never was, for both papers.

    python -m benchmarks.resume      # about four minutes

Each training of the demo's sizes is stopped at random moments, by SIGKILL, SIGTERM or Ctrl-C, and started again by the
same command. Then all its checkpoints and its log are compared with those of an unbroken training.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import write_json
from common.run.cli import guarded, utf8_output
from common.run.record import commit, environment
from common.train.checkpoint import kept_checkpoints, load_weights
from common.train.loop import read_log
from common.typed import plain

ROOT = Path(__file__).resolve().parent.parent
RESULT = Path(__file__).parent / "results" / "resume.json"
"""Where the figures are written."""
SYSTEMS = {"bahdanau2014": "demo/rnnsearch-50", "vaswani2017": "demo/base-enfr"}
"""Recipe that is trained, by paper."""
SETTINGS = [
    "data.first=2000",
    "train.steps=400",
    "train.checkpoint_every=100",
    "train.keep_checkpoints=4",
    "evaluate.average=1",
    "run.state_every=7",
    "run.log_every=10",
    "run.validate_every=50",
]
STOPS = 20
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
LOGGED = ("step", "epoch", "loss", "learning_rate", "gradient_norm", "padding_share", "dev_nll_per_token")
"""Fields of the log that must be equal. The others are times and memory."""
LATEST = 0.15
"""Seconds after a new state within which a training is stopped."""


def last_state(run: Path) -> int:
    """Return the update of the last state in a run's folder, 0 without any."""
    return max((int(path.stem) for path in run.glob("state/*.safetensors")), default=0)


def stop_often(command: list[str], run: Path, draw: random.Random) -> Counter[str]:
    """Start the training again and again, stop it each time after it has saved a state, and let the last one end."""
    stops: Counter[str] = Counter()
    while True:
        before = last_state(run)
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if stops.total() == STOPS:
            if process.wait() != 0:
                raise UserError(f"{run}: the last training did not end well")
            return stops
        while process.poll() is None and last_state(run) == before:
            time.sleep(0.001)
        time.sleep(draw.random() * LATEST)
        blow = draw.choice(SIGNALS)
        process.send_signal(blow)
        if process.wait() == 0:
            raise UserError(f"{run}: it ended after {stops.total()} stops; give it more updates")
        stops[blow.name] += 1


def same_weights(one: Path, other: Path) -> bool:
    """Return whether two runs kept the same checkpoints, equal to the bit."""
    pairs = list(zip(*(kept_checkpoints(run / "checkpoints") for run in (one, other)), strict=True))
    ours, theirs = ([load_weights(pair[side])[0] for pair in pairs] for side in (0, 1))
    names = all(first.keys() == second.keys() for first, second in zip(ours, theirs, strict=True))
    return names and all(first[k].equal(second[k]) for first, second in zip(ours, theirs, strict=True) for k in first)


def measure(paper: str, recipe: str, folder: Path) -> dict[str, Any]:
    """Train once unbroken and once with stops, and compare."""
    program = [sys.executable, "-m", f"papers.{paper}", "train", recipe, *SETTINGS, "--runs", str(folder / "data")]
    whole, run = folder / "whole", folder / "run"
    subprocess.run([*program, "--out", str(whole)], cwd=ROOT, check=True, capture_output=True)
    stops = stop_often([*program, "--out", str(run)], run, random.Random(4))
    logs = [[{key: entry.get(key) for key in LOGGED} for entry in read_log(path)] for path in (run, whole)]
    return {
        "paper": paper,
        "recipe": recipe,
        "stops": dict(stops),
        "checkpoints": len(kept_checkpoints(run / "checkpoints")),
        "weights_equal": same_weights(run, whole),
        "log_lines": len(logs[0]),
        "log_equal": logs[0] == logs[1],
    }


def main() -> None:
    """Compare both papers' trainings, print a line for each and write the figures."""
    utf8_output()
    # A shell lets what it starts in the background ignore Ctrl-C, and the trainings would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    rows = []
    for paper, recipe in SYSTEMS.items():
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(paper, recipe, Path(folder)))
        print(rows[-1], flush=True)
    write_json(RESULT, {"settings": SETTINGS, "rows": rows, "environment": plain(environment("cpu")), **commit(ROOT)})


if __name__ == "__main__":
    sys.exit(guarded(main, "python -m benchmarks.resume"))
