"""Where real text is found, and how the tests call the command line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import hypothesis
import pytest
import torch

from common.errors import UserError
from common.prepare.language_model import tools

ROOT = Path(__file__).resolve().parent.parent
torch.set_num_threads(1)
# On a busy machine any example may take long, and that says nothing of the code.
hypothesis.settings.register_profile("tests", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("tests")
# A shell lets what it starts in the background ignore Ctrl-C, and every process of these tests would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

TINY = [
    "data.first=400",
    "text.vocabulary_size=150",
    "train.steps=12",
    "run.log_every=4",
    "run.validate_every=6",
    "train.checkpoint_every=4",
    "train.keep_checkpoints=3",
    "run.state_every=4",
    "evaluate.average=2",
]
"""Overrides that shrink a demo recipe to seconds."""


REPEATED = ("step", "epoch", "loss", "learning_rate", "gradient_norm", "padding_share", "dev_nll_per_token", "samples")
"""Keys of a log's lines whose values are the same, to the bit, whenever a training is repeated or goes on."""


@pytest.fixture(scope="session")
def mirror() -> Path:
    """The folder that PAPERS_MIRROR names. Tests on real text are skipped without it."""
    named = os.environ.get("PAPERS_MIRROR")
    if not named or not Path(named).is_dir():
        pytest.skip("PAPERS_MIRROR names no folder of real text")
    return Path(named)


@pytest.fixture(scope="session")
def lmplz() -> None:
    """KenLM's estimator. It is compiled into the virtual environment (minutes) if it is not there."""
    try:
        tools()
    except UserError as error:
        pytest.skip(str(error))


Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def command() -> Command:
    """Call `python -m MODULE WORDS...` in the repository and return what it printed; `locale` adds variables."""

    def call(
        *words: object, stdin: str | bytes = "", check: int | None = 0, locale: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        given = stdin.encode() if isinstance(stdin, str) else stdin
        program, environment = [sys.executable, "-m", *map(str, words)], {**os.environ, **(locale or {})}
        done = subprocess.run(program, cwd=ROOT, env=environment, input=given, capture_output=True, timeout=300)
        result = subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())
        assert check is None or result.returncode == check, result.stderr
        return result

    return call
