"""One training over several processes, each with its GPU or CPU core, as torchrun starts them.

Every process holds the whole model. Of each minibatch it takes every `size`-th pair; the gradients are summed, so an
update is the same sum over the same pairs whatever the number of processes, but for the order of rounding.
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
    """The processes of a training: this one's number and how many there are."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes and speaks."""
        return self.rank == 0

    def part(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """This process's share of the pairs `rows` (B,): every `size`-th, none where there are fewer than processes."""
        return rows[self.rank :: self.size]

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Sum the gradients of all processes, in place, in one exchange. A missing gradient counts as zero."""
        if self.size == 1:
            return
        gradients = [
            parameter.grad if parameter.grad is not None else torch.zeros_like(parameter) for parameter in parameters
        ]
        together = torch.cat([gradient.reshape(-1) for gradient in gradients])
        distributed.all_reduce(together)
        sizes = [parameter.numel() for parameter in parameters]
        for parameter, summed in zip(parameters, together.split(sizes), strict=True):
            parameter.grad = summed.view_as(parameter)

    def sum(self, values: Sequence[float], device: torch.device) -> list[float]:
        """The sum over all processes of each value."""
        if self.size == 1:
            return list(values)
        together = torch.tensor(values, dtype=torch.float64, device=device)
        distributed.all_reduce(together)
        return [float(value) for value in together]

    def gather(self, state: Tensor) -> list[Tensor]:
        """The random state of every process, by rank."""
        if self.size == 1:
            return [state]
        states: list[Tensor] = [state] * self.size
        distributed.all_gather_object(states, state)
        return states

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.size > 1:
            distributed.barrier()


ALONE = World()
"""A training of one process."""


@contextmanager
def world(device: torch.device) -> Iterator[World]:
    """The processes that torchrun has started for this training, joined for the time of the block; else one alone.

    On CUDA each process computes on the GPU of its local rank, which becomes the current device.
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
    """Whether this process is the first of a training, or alone: the one that speaks, averages and scores."""
    return os.environ.get("RANK", "0") == "0"


def is_one_of_several() -> bool:
    """Return whether torchrun has started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ
