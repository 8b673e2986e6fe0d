"""One training by several processes, which torchrun starts, each on a GPU or CPU core of its own.

Every process holds the whole model. It takes every `size`-th pair of each minibatch, and the gradients of all processes
are summed. An update is therefore the same sum over the same pairs for any number of processes, up to rounding.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, distributed, nn


@dataclass(frozen=True)
class World:
    """The processes of a training: the number of this process and how many there are."""

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
        distributed.all_reduce(together)
        sizes = [parameter.numel() for parameter in parameters]
        for parameter, gradient, summed in zip(parameters, gradients, together.split(sizes), strict=True):
            # In place, because a recorded update finds its gradients at their addresses.
            parameter.grad = gradient.copy_(summed.view_as(parameter))

    def sum(self, values: Sequence[float], device: torch.device) -> list[float]:
        """Return the sum of each value over all processes."""
        if self.size == 1:
            return list(values)
        together = torch.tensor(values, dtype=torch.float64, device=device)
        distributed.all_reduce(together)
        return [float(value) for value in together]

    def gather(self, state: Tensor) -> list[Tensor]:
        """Return the random state of every process, in the order of their numbers."""
        if self.size == 1:
            return [state]
        # As objects, because random states lie in CPU memory and NCCL exchanges only tensors in GPU memory.
        states: list[Tensor] = [state] * self.size
        distributed.all_gather_object(states, state)
        return states

    def wait(self) -> None:
        """Wait until every process has reached this call."""
        if self.size > 1:
            distributed.barrier()


ALONE = World()
"""A training by a single process."""


@contextmanager
def world(device: torch.device) -> Iterator[World]:
    """Join the processes that torchrun started for this training, for the duration of the block.

    Without torchrun, yield a single process. On CUDA each process computes on the GPU of its local rank, which becomes
    the current device.
    """
    if not is_one_of_several():
        yield ALONE
        return
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield World(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()


def is_first() -> bool:
    """Return whether this process is the first of a training, or the only one: it reports, averages and scores."""
    # torchrun's variable and not `World`, because this is also asked before the processes join and after they part.
    return os.environ.get("RANK", "0") == "0"


def is_one_of_several() -> bool:
    """Return whether torchrun has started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ
