"""What a result must say about its origin: machine, versions, commit."""

import contextlib
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

import sacrebleu
import torch

from common.result import Environment


def environment(device: str | None = None) -> Environment:
    """Hardware, thread count and versions of this process.

    `device` is where the run computes ("cpu", "cuda", ...); without it, the GPU if there is one.
    """
    on_gpu = torch.cuda.is_available() if device is None else device.startswith("cuda")
    return Environment(
        hardware=_gpus() if on_gpu else _cpu(),
        threads=torch.get_num_threads(),
        python=platform.python_version(),
        torch=str(torch.__version__),
        sacrebleu=sacrebleu.__version__,
        platform=platform.platform(),
    )


def commit(root: Path) -> dict[str, Any]:
    """The commit checked out in `root` and whether tracked files differ from it.

    Without git, a repository at `root` or a commit: None, and dirty, since the code cannot be recovered.
    """
    head = _git(root, "rev-parse", "--verify", "HEAD")
    changes = _git(root, "status", "--porcelain", "--untracked-files=no")
    return {"commit": head, "dirty": head is None or changes != ""}


def matmul_rate(device: torch.device, seconds: float = 0.3) -> float:
    """FLOP/s of square float32 matrix products on `device`, with the threads now set: the sustained rate that turns
    training time into FLOPs by the method under Vaswani2017 Table 2."""
    size = 8192 if device.type == "cuda" else 1024  # a GPU is through with 1024 before it has been asked for more
    # Numbers of its own drawing: a training's random stream must not depend on what is measured beside it.
    draw = torch.Generator(device).manual_seed(0)
    left, right = (torch.randn(size, size, generator=draw, device=device) for _ in range(2))
    (left @ right).sum().item()
    started, done = time.monotonic(), 0
    while time.monotonic() - started < seconds:
        (left @ right).sum().item()
        done += 1
    return 2 * size**3 * done / (time.monotonic() - started)


def _git(root: Path, *arguments: str) -> str | None:
    """What git prints, or None where it fails or is missing."""
    # Neither a surrounding repository nor one named by a hook's GIT_DIR may answer for `root`.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment["GIT_CEILING_DIRECTORIES"] = str(root.resolve().parent)
    # Without the option, `status` would write to the index of a tree that others may be using.
    command = ["git", "--no-optional-locks", "-C", str(root.resolve()), *arguments]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.decode(errors="replace").strip()


def _gpus() -> str:
    """The GPUs this run computes on: one, or one per process of a distributed run."""
    return f"{_processes()}x {torch.cuda.get_device_name()}"


def _processes() -> int:
    """How many processes share this training."""
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if distributed else 1


def _cpu() -> str:
    """The processor's model and the number of logical cores."""
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):  # Linux only; elsewhere the platform's shorter name has to do
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    together = f", {_processes()} processes" if _processes() > 1 else ""
    return f"{model}, {os.cpu_count()} cores{together}"
