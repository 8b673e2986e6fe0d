"""The training loop: accumulate gradients, condition them, set the learning rate, update, log, validate, save, resume.

A run that is killed at any moment continues from its last saved state. On the same hardware and with as many processes
it ends with the same weights, bit for bit, as a run that was never interrupted. The state holds the weights, the
optimizer, the random generators and the position in the data. The order of the data is a function of seed and epoch
only.
"""

from __future__ import annotations

import json
import math
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from common.contract import Batch, longest_first
from common.errors import Terminated, UserError, enough_memory
from common.files import write_whole
from common.paper import Optimization
from common.prepare.encoded import ParallelIds
from common.progress import Standing, clock
from common.recipe import Recipe
from common.result import Likelihood
from common.train.batching import load_batch, minibatches
from common.train.board import Board
from common.train.checkpoint import kept_checkpoints, restore, save_weights
from common.train.loss import compiled, cross_entropy_sum
from common.train.parallel import ALONE, World
from common.train.prefetch import Prefetched
from common.train.state import forget_later, has_state, has_updates, load_state, save_state
from common.train.update import RecordedUpdate, Update, rounded

_VALIDATION_SENTENCES = 64
"""Most sentences of a batch when likelihoods are measured."""


@dataclass
class Progress:
    """Where a run is. All counts begin with its first update."""

    step: int = 0
    """Updates made."""
    epoch: int = 0
    position: int = 0
    """Minibatches of this epoch that are already used."""
    sentences: int = 0
    target_tokens: int = 0
    """Target tokens, EOS included."""
    seconds: float = 0.0
    """Wall time of training, validation included, summed over all restarts."""


@dataclass
class Window:
    """The updates since the last line of the log. It is saved with the state, so a kill leaves no gap in the log."""

    updates: int = 0
    loss: float = 0.0
    """Summed over the updates, in nats. It is read from the device when it is logged or saved."""
    tokens: int = 0
    """Target tokens, EOS included."""
    positions: int = 0
    """Target tokens and padding, with every minibatch padded to its longest sentence."""
    gradient_norm: float = 0.0
    """L2 norm of all gradients of the last update, before they are conditioned. It is computed when it is logged."""
    seconds: float = 0.0
    """Wall time without validation."""


@dataclass(frozen=True)
class TrainingText:
    """The encoded training and development sets, and what identifies them."""

    train: ParallelIds
    valid: ParallelIds
    identity: str
    """Hash of the prepared data. A state that was made from other data is refused."""


@dataclass(frozen=True)
class Minibatch:
    """One process's part of a minibatch, and the size and place of the whole minibatch."""

    batch: Batch | None
    """This process's pairs. None if there are fewer pairs than processes."""
    sentences: int
    tokens: int
    """Target tokens of the whole minibatch, EOS included."""
    positions: int
    """Target tokens and padding of the whole minibatch."""
    epoch: int
    position: int
    """Minibatches of the epoch up to this one, which is counted."""


class Trainer:
    """Trains one model by one recipe in one run folder. world: the processes that share the work."""

    def __init__(
        self,
        model: nn.Module,
        optimization: Optimization,
        text: TrainingText,
        recipe: Recipe,
        run: Path,
        world: World = ALONE,
    ):
        self.model, self.optimization, self.text, self.recipe, self.run = model, optimization, text, recipe, run
        self.world = world
        self.device = next(model.parameters()).device
        # A CPU has no operations that could be recorded.
        self.recorded = recipe.run.path == "fast" and self.device.type == "cuda"
        """Whether updates are recorded for each shape and replayed."""
        kind, cross_entropy = (RecordedUpdate, compiled()) if self.recorded else (Update, cross_entropy_sum)
        self.update = kind(model, optimization, recipe.train, world, cross_entropy)
        self.parameters = self.update.parameters
        self.progress, self.window = Progress(), Window()
        self.stopping = False
        """Whether to save the state after the current update and end, set from outside. One process suffices."""
        self.ending = False
        """Whether all processes have agreed to save the state of this update and end."""
        self.board: Board | None = None
        """Where the log's lines go as well, set from outside."""
        self._validated = 0
        """The last update after which the development set was measured."""
        self._log = run / "log.jsonl"

    def fit(self, show: Callable[[Standing | str], None]) -> Progress:
        """Train until `recipe.train.steps`, from the update to which `resume` has brought this trainer.

        show: receives loss, rate and time left every `log_every` updates, and now and then a remark.
        Raise UserError if the loss or a weight is not finite, if no pair is left after the length filter, or if the
        memory does not suffice. Raise Terminated when `stopping` is set, after the state is saved. In every case the
        last saved state is kept.
        """
        if self.progress.step == self.recipe.train.steps:
            self._save()  # a run that continues another one without a further update still needs weights of its own
        self.model.train()
        with Prefetched(self._data()) as batches, float32_products(self.recipe.train.precision):
            return self._fit(batches, show)

    def _fit(self, batches: Prefetched[Minibatch], show: Callable[[Standing | str], None]) -> Progress:
        """Train with these minibatches until the recipe's last update."""
        settings, first = self.recipe.train, self.progress.step + 1
        started = lap = time.monotonic()
        if isinstance(self.update, RecordedUpdate):
            self.update.try_out()
        before = self.progress.seconds
        while True:
            # Only after the state is saved: an error on the development set then loses no update.
            if self._validation_due():
                self._log_line({**self.validate(), **self._samples()})
                self._validated, lap = self.progress.step, time.monotonic()
            self.progress.seconds = before + time.monotonic() - started
            if self.progress.step >= settings.steps:
                return self.progress
            self._update(batches)
            now, step = time.monotonic(), self.progress.step
            # `lap` was set anew after validation, which would otherwise lower the logged rate.
            self.window.seconds, lap = self.window.seconds + now - lap, now
            self.progress.seconds = before + now - started
            if self.recorded and step == first:
                show(f"{self.recipe.name} update {step:,} is made, {clock(now - started)} after the start")
            if self._log_due(step):
                self._tell(show)
            # Read once, because the signal may come at any moment.
            self.ending = self.world.any(self.stopping)
            self._save(self.ending)
            if self.ending:
                self.world.wait()  # the first process is still saving, and torchrun would end it with any other
                raise Terminated(f"{self.run}: stopped after update {step:,}; the same command goes on from there")

    def _log_due(self, step: int) -> bool:
        """Return whether this update has a line in the log."""
        return step % self.recipe.run.log_every == 0 or step == self.recipe.train.steps

    def _validation_due(self) -> bool:
        """Return whether this update asks for a validation that the log does not have yet."""
        every, step = self.recipe.run.validate_every, self.progress.step
        return self._validated < step and (step % every == 0 or step == self.recipe.train.steps)

    def validate(self) -> dict[str, float]:
        """Measure the unsmoothed negative log-likelihood of the development set.

        Teacher-forced, EOS included, in nats.
        """
        measured = negative_log_likelihood(self.model, self.text.valid, world=self.world)
        self.model.train()
        return {f"dev_{key}": value for key, value in asdict(measured).items()}

    def _samples(self) -> dict[str, list[str]]:
        """Translate a few development sentences, if there is a board that shows them."""
        if self.board is None:
            return {}
        self.model.eval()
        samples = self.board.translate(self.model)
        self.model.train()
        return {"samples": samples}

    def _update(self, batches: Prefetched[Minibatch]) -> None:
        """Make one optimizer update and count it in `progress` and `window`."""
        group = [next(batches) for _ in range(self.recipe.batch.accumulate)]
        # Of all processes, as gradients are summed over them.
        tokens = sum(minibatch.tokens for minibatch in group)
        step, window, progress = self.progress.step + 1, self.window, self.progress
        cure = "raise batch.accumulate and lower batch.sentences or batch.tokens by as much"
        if min(minibatch.sentences for minibatch in group) == 1:  # a minibatch that cannot be made smaller
            cure = "lower batch.max_length, which leaves longer lines out, or shorten that line"
        with enough_memory(f"{self.run}: update {step:,}", cure):
            self.update.begin()
            for batch in (minibatch.batch for minibatch in group if minibatch.batch):
                self.update.add(batch, tokens)
            self.update.sum_gradients()
            if self._log_due(step):
                window.gradient_norm = float(self.update.gradient_norm())
            if self.device.type == "cpu":
                # A GPU's loss is read only when it is logged or saved, because reading waits until it is computed.
                self._read_loss(step)
            self.update.finish(step)
        progress.step, progress.epoch, progress.position = step, group[-1].epoch, group[-1].position
        progress.sentences += sum(minibatch.sentences for minibatch in group)
        progress.target_tokens += tokens
        window.updates, window.tokens = window.updates + 1, window.tokens + tokens
        window.positions += sum(minibatch.positions for minibatch in group)

    def _read_loss(self, step: int) -> None:
        """Read the loss of the updates since the last line of the log. Raise UserError if it is not finite.

        No state and no checkpoint is made from such a loss. A gradient that is not finite is the paper's affair:
        GroundHog has a rule for it, which `condition_gradients` applies.
        """
        (self.window.loss,) = self.world.sum([float(self.update.loss)])
        if not math.isfinite(self.window.loss):
            made = "at" if self.device.type == "cpu" else "at or shortly before"
            raise self._diverged(f"the loss is {self.window.loss} {made} update {step:,}")

    def _check_weights(self, step: int) -> None:
        """Raise UserError if a weight is not finite, which the loss shows only at the next update."""
        # The largest of all, which is not finite if one is not. A sum of squares could overflow.
        if not torch.isfinite(nn.utils.get_total_norm([weight.detach() for weight in self.parameters], math.inf)):
            raise self._diverged(f"update {step:,} has left weights that are not finite")

    def _diverged(self, what: str) -> UserError:
        cure = "lower the learning rate or the step size in the recipe and train into a new folder"
        return UserError(f"{self.run}: {what}; what was saved before is intact: {cure}")

    def _data(self) -> Iterator[Minibatch]:
        """Yield minibatches from the saved position on, epoch after epoch. It runs in another thread."""
        train, epoch, position = self.text.train, self.progress.epoch, self.progress.position
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)  # of this thread: memory is pinned for one device
        while True:
            order = minibatches(
                train.source_lengths, train.target_lengths, self.recipe.batch, self.recipe.train.seed, epoch
            )
            if not len(order):
                raise UserError(f"{self.run}: no training pair is left after the length filter; raise batch.max_length")
            for place, indices in enumerate(order[position:], position + 1):
                own = self.world.part(indices)
                batch = load_batch(train, own) if len(own) else None
                if batch and self.recorded:
                    batch = rounded(batch)
                if batch and self.device.type == "cuda":
                    batch = batch.pinned()
                lengths = train.target_lengths[indices]
                positions = len(lengths) * int(lengths.max())
                yield Minibatch(batch, len(indices), int(lengths.sum()), positions, epoch, place)
            epoch, position = epoch + 1, 0

    def _save(self, at_once: bool = False) -> None:
        """Save a checkpoint and the state at the updates that the recipe names, and at the end.

        at_once: save the state at this update in any case.
        """
        settings, step = self.recipe.train, self.progress.step
        checkpoint = step % settings.checkpoint_every == 0 or step == settings.steps
        if not (checkpoint or at_once or step % self.recipe.run.state_every == 0):
            return
        self._read_loss(step)
        self._check_weights(step)
        if checkpoint and self.world.first:
            folder = self.run / "checkpoints"
            save_weights(
                folder / f"{step:09d}.safetensors", self.model.state_dict(), {"step": step, "recipe": self.recipe.name}
            )
            # Deleted after the new one is complete: a kill in between leaves one too many, never one too few.
            for old in kept_checkpoints(folder)[: -settings.keep_checkpoints]:
                old.unlink()
        state = self._state()  # every process must call it: it gathers their random states
        if self.world.first:
            self._save_state(state)

    def _save_state(self, state: dict[str, Any]) -> None:
        """Save the state. If the disk refuses the first one, remove the checkpoints, from which nothing can resume."""
        try:
            save_state(self.run, self.progress.step, state)
        except UserError:
            if not has_state(self.run):
                shutil.rmtree(self.run / "checkpoints", ignore_errors=True)
            raise
        (self.run / "state.pt").unlink(missing_ok=True)  # of an earlier version

    def _state(self) -> dict[str, Any]:
        """Collect what `resume` needs."""
        return {
            "step": self.progress.step,
            "progress": asdict(self.progress),
            "window": asdict(self.window),
            "model": self.model.state_dict(),
            "optimizer": self.optimization.optimizer.state_dict(),
            "data": self.text.identity,
            "losses": self.world.gather(self.update.loss.cpu()),
            "rng": self.world.gather(torch.get_rng_state()),
            "cuda_rng": self.world.gather(torch.cuda.get_rng_state()) if self.device.type == "cuda" else [],
        }

    def resume(self) -> None:
        """Load the run's own state, or the state of the finished run that the recipe continues.

        Without either, do nothing. Raise UserError if the state is of other data or another model, or is past the
        recipe's last update. In that case nothing has been changed.
        """
        found, run = load_state(self.run), self.run
        if found is None:
            if has_updates(self.run):
                raise UserError(
                    f"{self.run / 'state'}: missing, without which this training cannot go on; put it back, or delete "
                    f"{self.run}"
                )
            if self.recipe.train.continues is None:
                if self.world.first:
                    # Left by a training that was killed before it saved a state.
                    self._log.unlink(missing_ok=True)
                return
            run = self.run.parent / self.recipe.train.continues
            if (found := load_state(run)) is None:
                raise UserError(
                    f"{run}: no state; this recipe continues `{self.recipe.train.continues}`: train that beside it"
                )
        path, state = found
        if state["data"] != self.text.identity:
            raise UserError(
                f"{path}: made from other data than the recipe's now (data.corpus {self.recipe.data.corpus}); "
                "give back that text, or choose another --out folder"
            )
        if state["step"] > self.recipe.train.steps:
            raise UserError(f"{path}: already at update {state['step']:,}; set train.steps to that or more")
        restore(self.model, state["model"], path)
        self._restore_optimizer(state["optimizer"])
        rank = self.world.rank
        if rank < len(state["rng"]):  # a process beyond those of the saved run keeps the stream of its own seed
            torch.set_rng_state(state["rng"][rank])
        if self.device.type == "cuda" and rank < len(state["cuda_rng"]):
            torch.cuda.set_rng_state(state["cuda_rng"][rank])
        self.progress, self.window = Progress(**state["progress"]), Window(**state["window"])
        losses = state.get("losses", [])  # one for each process; an earlier version saved only their sum
        if len(losses) == self.world.size:
            self.update.loss.copy_(losses[rank])
        else:
            self.update.loss.fill_(self.window.loss if self.world.first else 0.0)
        if self.world.first:
            forget_later(self.run, self.progress.step)
        self._cut_log(run / "log.jsonl")

    def _restore_optimizer(self, saved: dict[str, Any]) -> None:
        """Load an optimizer's state. How it computes is this machine's affair, not that of the one that saved it."""
        optimizer = self.optimization.optimizer
        groups = [
            {**theirs, **{key: ours[key] for key in ("lr", "foreach", "fused", "capturable") if key in ours}}
            for theirs, ours in zip(saved["param_groups"], optimizer.param_groups, strict=True)
        ]
        optimizer.load_state_dict({**saved, "param_groups": groups})

    def _cut_log(self, source: Path) -> None:
        """Keep the log's lines up to the resumed update. Later updates will be made and logged again."""
        lines = source.read_text(encoding="utf-8", errors="replace").split("\n") if source.is_file() else []
        kept = [line for line in lines if _logged_step(line) <= self.progress.step]
        entries = [json.loads(line) for line in kept if line]
        self._validated = max((entry["step"] for entry in entries if "dev_nll_per_token" in entry), default=0)
        if self.world.first:
            write_whole(self._log, "".join(f"{line}\n" for line in kept if line))

    def _log_line(self, values: dict[str, Any]) -> None:
        """Add a line to the log, and to the board if there is one."""
        entry = {
            "step": self.progress.step,
            "epoch": self.progress.epoch,
            "seconds": round(self.progress.seconds, 3),
            **values,
        }
        if self.world.first:
            with open(self._log, "a", encoding="utf-8") as handle:
                handle.write(json.dumps(entry) + "\n")
        if self.board is not None:
            self.board.add(entry)

    def _tell(self, show: Callable[[Standing | str], None]) -> None:
        """Log the updates since the last line and report where the training is."""
        window, progress, steps = self.window, self.progress, self.recipe.train.steps
        self._read_loss(progress.step)
        seconds = max(window.seconds, 1e-9)
        loss, tokens, rate = window.loss / window.tokens, window.tokens / seconds, window.updates / seconds
        values = {
            "loss": loss,
            "learning_rate": float(self.optimization.optimizer.param_groups[0]["lr"]),
            # JSON has no infinity, and GroundHog's rule trains on after a gradient that has one.
            "gradient_norm": window.gradient_norm if math.isfinite(window.gradient_norm) else None,
            # A window that an earlier version saved has not counted all of its positions.
            "padding_share": 1 - window.tokens / max(window.tokens, window.positions),
            "target_tokens_per_second": tokens,
            "updates_per_second": rate,
            "peak_memory_gib": round(peak_memory(self.device) / 2**30, 3),
        }
        self._log_line(values)
        left = (steps - progress.step) / rate
        show(Standing(self.recipe.name, progress.step, steps, progress.epoch + 1, loss, tokens, left))
        self.window = Window()
        self.update.loss.zero_()


def peak_memory(device: torch.device) -> int:
    """Return the most bytes that this process has held at a time: allocated on its GPU, or else resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # bytes on macOS, KiB on Linux


@contextmanager
def float32_products(precision: str) -> Iterator[None]:
    """Let a GPU round the inputs of float32 matrix products to TF32 for the time of the block, if `precision` is tf32.

    TF32 has the range of float32 and 10 bits of mantissa. Sums stay in float32.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def negative_log_likelihood(
    model: nn.Module, ids: ParallelIds, limit: int | None = None, world: World = ALONE
) -> Likelihood:
    """Measure the unsmoothed NLL of the pairs (of the first `limit`): teacher-forced, EOS included, in nats.

    world: the processes that share the work. The model is in evaluation mode afterwards.
    """
    model.eval()
    device, total, tokens = next(model.parameters()).device, 0.0, 0.0
    lengths = np.maximum(ids.source_lengths, ids.target_lengths)[:limit]
    for chosen in map(world.part, longest_first(lengths, 64 * _VALIDATION_SENTENCES, _VALIDATION_SENTENCES)):
        if not len(chosen):
            continue
        what = f"measuring the likelihood of a pair of {lengths[chosen].max():,} tokens"
        with torch.inference_mode(), enough_memory(what, "split or drop that line of the dev set"):
            batch = load_batch(ids, chosen).to(device)
            total += float(cross_entropy_sum(model(batch), batch.target, batch.target_mask))
            tokens += int(batch.target_mask.sum())
    total, tokens = world.sum([total, tokens])
    per_token = total / tokens
    return Likelihood(
        nll_per_token=per_token,
        nll_per_sentence=total / len(lengths),
        perplexity=math.exp(min(per_token, 700.0)),  # exp(710) is beyond float64
    )


def _logged_step(line: str) -> float:
    """Return the update of a log line, or infinity for a line that a kill has cut off."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf


def read_log(run: Path) -> list[dict[str, Any]]:
    """Return the run's log entries in order."""
    path = run / "log.jsonl"
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n") if path.is_file() else []
    return [json.loads(line) for line in lines if _logged_step(line) < math.inf]
