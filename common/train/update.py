"""One update: gradients of its minibatches, their conditioning, and the optimizer's step.

`Update` computes it operation by operation. `RecordedUpdate` records the operations of a GPU once as CUDA graphs and
replays them, because a GPU that computes small steps otherwise waits for Python. Both make the same operations in the
same order. A graph holds for one shape only, so the trainer rounds shapes up by `rounded`. That changes a gradient by
rounding only, unless the model has dropout, which draws other numbers for another shape.

Letters: B sentences, S source positions, T target positions.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.contract import Batch
from common.ids import EOS
from common.paper import Optimization
from common.recipe import Train
from common.train.loss import cross_entropy_sum
from common.train.parallel import ALONE, World

# A fast update's first step is computed before anything is recorded.
warnings.filterwarnings("ignore", "This instance was constructed with capturable=True", UserWarning)

CrossEntropy = Callable[[Tensor, Tensor, Tensor, float], Tensor]


@dataclass(eq=False)
class Update:
    """Makes the updates of one model, operation by operation."""

    model: nn.Module
    optimization: Optimization
    train: Train
    world: World = ALONE
    cross_entropy: CrossEntropy = cross_entropy_sum
    """`cross_entropy_sum`, or the same function arranged for speed."""

    def __post_init__(self) -> None:
        self.parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.device = self.parameters[0].device
        self.loss = torch.zeros((), dtype=torch.float64, device=self.device)
        """Summed over all minibatches since it was last set to zero, in nats. Reading it waits for the GPU."""

    def begin(self) -> None:
        """Forget the gradients of the update before."""
        self.optimization.optimizer.zero_grad(set_to_none=True)

    def add(self, batch: Batch, tokens: int) -> None:
        """Add a minibatch's gradients to those of the update, and its loss to `loss`.

        tokens: target tokens of the whole update, EOS included.
        """
        self._add(batch.to(self.device), tokens)

    def sum_gradients(self) -> None:
        """Sum the gradients of all processes."""
        self.world.sum_gradients(self.parameters)

    def finish(self, step: int) -> None:
        """Condition the gradients and change the parameters. step: 1 at the first update of a training."""
        self._set_learning_rate(step)
        self._change_parameters()

    def gradient_norm(self) -> Tensor:
        """Compute the L2 norm of the gradients together, as a tensor without shape."""
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        return nn.utils.get_total_norm(gradients)

    def _add(self, batch: Batch, tokens: int | Tensor) -> None:
        loss = self._loss(batch)
        # The mean is over all tokens of the update, not of each minibatch (tensor2tensor v1.0). A sum stays a
        # sum, because the norm at which Bahdanau2014 clips is that of the summed loss (GroundHog).
        (loss / tokens if self.train.loss == "token_mean" else loss).backward()
        self.loss += loss.detach()

    def _loss(self, batch: Batch) -> Tensor:
        """Return the summed loss of a batch: a scalar, in nats."""
        mixed = self.train.precision == "bfloat16"
        # With bfloat16 the matrix products are rounded. Weights, optimizer and loss stay in float32.
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=mixed):
            logits = self.model(batch)
        return self.cross_entropy(logits, batch.target, batch.target_mask, self.train.label_smoothing)

    def _set_learning_rate(self, step: int) -> None:
        if self.optimization.learning_rate is None:
            return
        rate = self.optimization.learning_rate(step)
        for group in self.optimization.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)  # in place: a graph reads it there
            else:
                group["lr"] = rate

    def _change_parameters(self) -> None:
        if self.optimization.condition_gradients is not None:
            self.optimization.condition_gradients(self.parameters)
        self.optimization.optimizer.step()


@dataclass(frozen=True)
class _Recording:
    """The operations on minibatches of one shape, and the tensors that they read."""

    batch: Batch
    replay: Callable[[], None]


class RecordedUpdate(Update):
    """Makes the same updates by replaying recordings.

    The first minibatch of a shape is computed operation by operation, the second is recorded. All that the recorded
    operations read and write stays at its address: gradients are set to zero in place, and a minibatch is copied into
    the tensors of its shape. On a CPU, where there is nothing to record, a replay calls the function again.
    The model is tried before its first minibatch, because compiled code depends on the shapes that it meets first: a
    training that goes on after a stop must meet the same ones.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        for parameter in self.parameters:
            parameter.grad = torch.zeros_like(parameter)
        self._tokens = torch.ones((), device=self.device)
        self._seen: set[tuple[int, ...]] = set()
        self._recorded: dict[tuple[int, ...], _Recording] = {}
        self._change: Callable[[], None] | None = None
        self._made = 0
        """Updates made by this object."""
        # Graphs run one after the other and leave nothing behind but what they add to, so they can share their memory.
        self._memory = torch.cuda.graph_pool_handle() if self.device.type == "cuda" else None

    def try_out(self) -> None:
        """Compute gradients of two made-up minibatches and forget them. Random numbers stay as they are."""
        devices, loss = [self.device] if self.device.type == "cuda" else [], self.loss.clone()
        with torch.random.fork_rng(devices):
            for sizes in _TRIED:
                self._add(_made_up(*sizes).to(self.device), self._tokens)
        self.begin()
        self.loss.copy_(loss)

    @property
    def shapes(self) -> int:
        """Number of shapes that are recorded."""
        return len(self._recorded)

    def begin(self) -> None:
        """Set the gradients to zero, in place."""
        self.optimization.optimizer.zero_grad(set_to_none=False)

    def add(self, batch: Batch, tokens: int) -> None:
        """Add a minibatch's gradients and loss, as `Update.add`."""
        self._tokens.fill_(tokens)
        shape = (*batch.source.shape, *batch.target.shape)
        if shape not in self._seen:
            self._seen.add(shape)
            self._add(batch.to(self.device), self._tokens)
            return
        if shape not in self._recorded:
            # Copied even on a CPU, where `to` returns the same tensors: the next minibatch is copied over them.
            kept = Batch(*(tensor.to(self.device, copy=True) for tensor in batch.tensors))
            self._recorded[shape] = _Recording(kept, self._record(lambda: self._add(kept, self._tokens)))
        recording = self._recorded[shape]
        for there, here in zip(recording.batch.tensors, batch.tensors, strict=True):
            there.copy_(here, non_blocking=True)
        recording.replay()

    def _change_parameters(self) -> None:
        self._made += 1
        if self._made == 1:  # makes the optimizer's own tensors, which a recording could not keep
            super()._change_parameters()
            return
        if self._change is None:
            self._change = self._record(super()._change_parameters)
        self._change()

    def _record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record the GPU's operations in `work` without computing them. Return the function that computes them."""
        if self.device.type != "cuda":
            return work
        graph = torch.cuda.CUDAGraph()
        # The thread that makes minibatches may pin memory meanwhile, which the strict mode would take for a mistake.
        with torch.cuda.graph(graph, pool=self._memory, capture_error_mode="thread_local"):
            work()
        return graph.replay


_TRIED = ((67, 19, 21), (71, 41, 37))
"""B, S and T of made-up minibatches. `rounded` makes none of these sizes."""


def _made_up(B: int, S: int, T: int) -> Batch:
    """Return a minibatch of sentences of EOS alone."""
    source, target = torch.full((B, S), EOS), torch.full((B, T), EOS)
    return Batch(source, torch.ones_like(source, dtype=torch.bool), target, torch.ones_like(target, dtype=torch.bool))


def rounded(batch: Batch) -> Batch:
    """Return the batch with B rounded up by at most 1/32, S and T by at most 1/8, so that few shapes are left.

    No size is below 2, for which compilers make code of its own.
    Added positions have a mask of False. An added row is a source of one EOS without a target. Neither changes the loss
    or a gradient but by rounding.
    """
    B = _rounded(len(batch.source), 6)
    S, T = (_rounded(side.shape[1], 4) for side in (batch.source, batch.target))
    source, source_mask = _grown(batch.source, B, S, EOS), _grown(batch.source_mask, B, S, False)
    source_mask[len(batch.source) :, 0] = True  # a softmax over no position would not be a number
    return Batch(source, source_mask, _grown(batch.target, B, T, EOS), _grown(batch.target_mask, B, T, False))


def _rounded(size: int, digits: int) -> int:
    """Return the next number from 2 on with at most that many binary digits before its zeros.

    With 4 digits these are 2, 3, .. 16, 18, .. 32, 36, .. 64, 72, ..
    """
    step = 1 << max(0, (size - 1).bit_length() - digits)
    return max(2, -(-size // step) * step)


def _grown(tensor: Tensor, rows: int, columns: int, value: int) -> Tensor:
    """Return the matrix with rows added below and columns on the right."""
    return F.pad(tensor, (0, columns - tensor.shape[1], 0, rows - tensor.shape[0]), value=value)
