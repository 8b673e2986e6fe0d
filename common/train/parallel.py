"""One training or decoding by several processes, which torchrun starts, each on a GPU or CPU core of its own.

Every process holds the whole model. It takes every `size`-th pair of each minibatch, and the gradients of all processes
are summed. An update is therefore the same sum over the same pairs for any number of processes, up to rounding. Dropout
is the exception: each process draws its own.

If a process fails, it says why and ends, and torchrun then sends SIGTERM to the others on its machine. They wait for
that in silence, so that what the failed one has said stays the last line.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import distributed, nn

from common.errors import UserError

Item = TypeVar("Item")

_PATIENCE = 5.0
"""Seconds for which a process that has failed waits for torchrun to end it, before it speaks."""
_GRACE = 10.0
"""Seconds after SIGTERM in which all processes must have agreed to stop. torchrun kills them after 30."""
_lost = threading.Event()
"""Set when an exchange has failed, because another process has ended."""


@dataclass(frozen=True)
class World:
    """The processes that share a training or decoding: the number of this process and how many there are."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes files and reports progress."""
        return self.rank == 0

    def part(self, rows: npt.NDArray[np.signedinteger]) -> npt.NDArray[np.signedinteger]:
        """Return this process's share of the pairs `rows` (B,): every `size`-th one.

        The share is empty where there are fewer pairs than processes.
        """
        # Not a contiguous part: the pairs are sorted by length, and so all processes get about the same work.
        return rows[self.rank :: self.size]

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Sum the gradients of all processes in place. A missing gradient counts as zero."""
        if self.size == 1:
            return
        # A process without pairs takes part with zeros, since the exchange waits for every process.
        gradients = [
            parameter.grad if parameter.grad is not None else torch.zeros_like(parameter) for parameter in parameters
        ]
        # One long vector (all parameters,): one exchange is much faster than one for each tensor.
        together = torch.cat([gradient.reshape(-1) for gradient in gradients])
        with _exchange():
            distributed.all_reduce(together)
        sizes = [parameter.numel() for parameter in parameters]
        for parameter, gradient, summed in zip(parameters, gradients, together.split(sizes), strict=True):
            # In place, because a recorded update finds its gradients at their addresses.
            parameter.grad = gradient.copy_(summed.view_as(parameter))

    def sum(self, values: Sequence[float]) -> list[float]:
        """Return the sum of each value over all processes. It does not wait for a GPU."""
        if self.size == 1:
            return list(values)
        together = torch.tensor(values, dtype=torch.float64)
        with _exchange():
            distributed.all_reduce(together)
        return together.tolist()

    def any(self, value: bool) -> bool:
        """Return whether the value is true in any process. It does not wait for a GPU."""
        return self.sum([value])[0] > 0

    def gather(self, own: Item) -> list[Item]:
        """Return the object of every process, in the order of their numbers. A tensor must be in CPU memory."""
        if self.size == 1:
            return [own]
        found = [own] * self.size
        with _exchange():
            distributed.all_gather_object(found, own)
        return found

    def wait(self) -> None:
        """Wait until every process has reached this call."""
        self.any(False)


ALONE = World()
"""A training or decoding by a single process."""


def joined(device: torch.device) -> World:
    """Join the processes that torchrun has started, at the first call, and return them.

    Without torchrun, return a single process. On CUDA each process computes on the GPU of its local rank, which becomes
    the current device.
    Raise UserError if the processes cannot reach each other, or if torchrun lacks what `--max-restarts` needs.
    """
    if not is_one_of_several():
        return ALONE
    if not distributed.is_initialized():
        if os.environ["TORCHELASTIC_MAX_RESTARTS"] != "0" and os.environ["TORCHELASTIC_USE_AGENT_STORE"] == "True":
            # Or else the processes that are started again meet at addresses that those before them have left.
            raise UserError("torchrun --max-restarts needs TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 in the environment")
        if device.type == "cuda":
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        with _exchange():
            # What is in CPU memory is exchanged there: it waits for no GPU and fails as soon as a process has ended.
            distributed.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    return World(distributed.get_rank(), distributed.get_world_size())


@contextmanager
def _exchange() -> Iterator[None]:
    """Raise UserError if an exchange fails, unless torchrun ends this process before, as it should."""
    try:
        yield
    except RuntimeError as error:  # "Connection closed by peer" and the like, as gloo and NCCL word it
        _lost.set()
        time.sleep(2 * _GRACE)
        reason = str(error).strip().split("\n")[0]
        raise UserError(
            f"process {os.environ.get('RANK')} cannot exchange with the others ({reason}); if one of them has failed, "
            "see what it says; the same command goes on from the last saved state"
        ) from None


@contextmanager
def sigterm_stops(stop: Callable[[], None], agreed: Callable[[], bool]) -> Iterator[None]:
    """Call `stop` at SIGTERM, for the time of the block. End this process if `agreed` is not true soon afterwards.

    SIGTERM comes to all processes, either from outside or from torchrun when one has failed. Only in the first case can
    the others agree on an update and save.
    """

    def watch() -> None:
        while os.read(reading, 1) != bytes([signal.SIGTERM]):
            pass
        stop()
        _lost.wait(_GRACE)
        if not agreed():
            os._exit(128 + signal.SIGTERM)

    # A thread, because Python calls no handler while the main thread waits in an exchange for a process that has ended.
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.signal(signal.SIGTERM, lambda number, frame: None), signal.set_wakeup_fd(writing)
    threading.Thread(target=watch, name="sigterm", daemon=True).start()
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.set_wakeup_fd(before[1])


def is_first() -> bool:
    """Return whether this process is the first that torchrun started, or the only one: it reports and writes."""
    # torchrun's variable and not `World`, because this is also asked before the processes join.
    return os.environ.get("RANK", "0") == "0"


def about_to_say(message: str) -> None:
    """Wait before this process says why it failed, so that what befell all of them is said once.

    The first process speaks at once, and torchrun then ends the others on its machine. The message is also left for the
    page that torchrun prints.
    """
    time.sleep(_PATIENCE * ((not is_first()) + (os.environ.get("LOCAL_RANK", "0") != "0")))
    if path := os.environ.get("TORCHELASTIC_ERROR_FILE"):
        with suppress(OSError):
            error = {"message": message, "extraInfo": {"timestamp": int(time.time())}}
            Path(path).write_text(json.dumps({"message": error}), encoding="utf-8")


def is_one_of_several() -> bool:
    """Return whether torchrun has started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ
