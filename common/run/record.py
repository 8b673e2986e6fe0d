"""What a result records about its origin: machine, versions, commit."""

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
    """Return hardware, number of threads and versions of this process.

    `device` is where the run computes ("cpu", "cuda", ...). The default is the GPU if there is one.
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
    """Return the commit that is checked out in `root`, and whether tracked files differ from it.

    Without git, without a repository at `root` or without a commit the result is None and dirty, because the code
    cannot be recovered.
    """
    head = _git(root, "rev-parse", "--verify", "HEAD")
    changes = _git(root, "status", "--porcelain", "--untracked-files=no")
    return {"commit": head, "dirty": head is None or changes != ""}


def matmul_rate(device: torch.device, seconds: float = 0.3) -> float:
    """Return the FLOP/s of square float32 matrix products on `device`, with the current number of threads.

    This is the sustained rate by which the method under Vaswani2017 Table 2 turns training time into FLOPs.
    """
    size = 8192 if device.type == "cuda" else 1024  # with 1024 a GPU would wait for the next launch most of the time
    # A generator of its own: the random stream of a training must not depend on this measurement.
    draw = torch.Generator(device).manual_seed(0)
    left, right = (torch.randn(size, size, generator=draw, device=device) for _ in range(2))
    (left @ right).sum().item()  # the first product also loads the library; `item` waits until a GPU has finished
    started, done = time.monotonic(), 0
    while time.monotonic() - started < seconds:
        (left @ right).sum().item()
        done += 1
    return 2 * size**3 * done / (time.monotonic() - started)


def _git(root: Path, *arguments: str) -> str | None:
    """Return what git prints, or None if it fails or is missing."""
    # Only a repository at `root` itself counts: not one around it, and not one that a hook's GIT_DIR names.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment["GIT_CEILING_DIRECTORIES"] = str(root.resolve().parent)
    # Without this option `status` would lock and rewrite the index while other processes may be using it.
    command = ["git", "--no-optional-locks", "-C", str(root.resolve()), *arguments]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.decode(errors="replace").strip()


def _gpus() -> str:
    """Return the GPUs that this run computes on: one, or one per process of a distributed run."""
    return f"{_processes()}x {torch.cuda.get_device_name()}"


def _processes() -> int:
    """Return how many processes share this training."""
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if distributed else 1


def _cpu() -> str:
    """Return the processor's model and the number of logical cores."""
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):  # the file exists on Linux only; elsewhere the shorter name above is kept
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    together = f", {_processes()} processes" if _processes() > 1 else ""
    return f"{model}, {os.cpu_count()} cores{together}"
