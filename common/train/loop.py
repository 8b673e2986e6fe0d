"""The training loop: accumulate gradients, condition them, set the learning rate, update, log, validate, save, resume.

A run that is killed at any moment continues from its last saved state. On the same processor it ends with the same
weights, bit for bit, as a run that was never interrupted. The state holds the weights, the optimizer, the random
generators and the position in the data. The order of the data is a function of seed and epoch only.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from common.contract import Batch, longest_first
from common.errors import Terminated, UserError, enough_memory
from common.files import write_whole
from common.paper import Optimization
from common.prepare.encoded import ParallelIds
from common.progress import clock
from common.recipe import Recipe
from common.result import Likelihood
from common.train.batching import load_batch, minibatches
from common.train.checkpoint import kept_checkpoints, restore, save_weights
from common.train.loss import cross_entropy_sum
from common.train.parallel import ALONE, World
from common.train.state import forget_later, has_state, has_updates, load_state, save_state

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
    """Summed over the updates, in nats."""
    tokens: int = 0
    """Target tokens, EOS included."""
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
    """One process's part of a minibatch, and the size of the whole minibatch."""

    batch: Batch | None
    """This process's pairs. None if there are fewer pairs than processes."""
    sentences: int
    tokens: int
    """Target tokens of the whole minibatch, EOS included."""


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
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.progress, self.window = Progress(), Window()
        self.stopping = False
        """Whether to save the state after the current update and end, set from outside."""
        self._validated = 0
        """The last update after which the development set was measured."""
        self._log = run / "log.jsonl"

    def fit(self, say: Callable[[str], None]) -> Progress:
        """Train until `recipe.train.steps`, from the update to which `resume` has brought this trainer.

        say: receives a line of progress (loss, rate, time left) every `log_every` updates.
        Raise UserError if the loss is not finite or the memory does not suffice. The last saved state is kept.
        """
        settings = self.recipe.train
        if self.progress.step == settings.steps:
            self._save()  # a run that continues another one without a further update still needs weights of its own
        self.model.train()
        batches = self._data()
        started = lap = time.monotonic()
        before = self.progress.seconds
        while True:
            # Only after the state is saved: an error on the development set then loses no update.
            if self._validation_due():
                self._record(self.validate())
                self._validated, lap = self.progress.step, time.monotonic()
            self.progress.seconds = before + time.monotonic() - started
            if self.progress.step >= settings.steps:
                return self.progress
            self._update(batches)
            now, step = time.monotonic(), self.progress.step
            # `lap` was set anew after validation, which would otherwise lower the logged rate.
            self.window.seconds, lap = self.window.seconds + now - lap, now
            self.progress.seconds = before + now - started
            if step % self.recipe.run.log_every == 0 or step == settings.steps:
                self._tell(say)
            stopping = self.stopping  # read once: the signal may come at any moment
            self._save(stopping)
            if stopping:
                raise Terminated(f"{self.run}: stopped after update {step:,}; the same command goes on from there")

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

    def _update(self, batches: Iterator[Minibatch]) -> None:
        """Make one optimizer update and count it in `progress` and `window`."""
        train = self.recipe.train
        group = [next(batches) for _ in range(self.recipe.batch.accumulate)]
        # Of all processes, as gradients are summed over them.
        tokens = sum(minibatch.tokens for minibatch in group)
        self.optimization.optimizer.zero_grad(set_to_none=True)
        total = 0.0
        cure = "raise batch.accumulate and lower batch.sentences or batch.tokens by as much"
        if min(minibatch.sentences for minibatch in group) == 1:  # a minibatch that cannot be made smaller
            cure = "lower batch.max_length, which leaves longer lines out, or shorten that line"
        with enough_memory(f"{self.run}: update {self.progress.step + 1:,}", cure):
            for batch in (minibatch.batch for minibatch in group if minibatch.batch):
                loss = self._loss(batch)
                # The mean is over all tokens of the update, not of each minibatch (tensor2tensor v1.0). A sum stays a
                # sum, because the norm at which Bahdanau2014 clips is that of the summed loss (GroundHog).
                (loss / tokens if train.loss == "token_mean" else loss).backward()
                total += float(loss.detach())
        self.world.sum_gradients(self.parameters)
        (total,) = self.world.sum([total], self.device)
        self.progress.step += 1
        # Before the optimizer step, so that no weights and no state are made from such a loss. A gradient that is not
        # finite is the paper's affair: GroundHog has a rule for it, which `condition_gradients` applies.
        if not math.isfinite(total):
            raise UserError(
                f"{self.run}: the loss is {total} at update {self.progress.step}; what was saved before is intact: "
                "lower the learning rate or the step size in the recipe and train into a new folder"
            )
        if self.optimization.condition_gradients is not None:
            self.optimization.condition_gradients(self.parameters)
        if self.optimization.learning_rate is not None:
            # `step` counts this update already: the papers' schedules begin with update 1.
            for group_settings in self.optimization.optimizer.param_groups:
                group_settings["lr"] = self.optimization.learning_rate(self.progress.step)
        self.optimization.optimizer.step()
        self.progress.sentences += sum(minibatch.sentences for minibatch in group)
        self.progress.target_tokens += tokens
        self.window.updates, self.window.loss = self.window.updates + 1, self.window.loss + total
        self.window.tokens += tokens

    def _loss(self, batch: Batch) -> Tensor:
        """Return the summed loss of a batch: a scalar, in nats."""
        batch = batch.to(self.device)
        mixed = self.recipe.train.precision == "bfloat16"
        # With bfloat16 the matrix products are rounded. Weights, optimizer and loss stay in float32.
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=mixed):
            logits = self.model(batch)
        return cross_entropy_sum(logits, batch.target, batch.target_mask, self.recipe.train.label_smoothing)

    def _data(self) -> Iterator[Minibatch]:
        """Yield minibatches from the saved position on, epoch after epoch."""
        train, progress = self.text.train, self.progress
        while True:
            order = minibatches(
                train.source_lengths, train.target_lengths, self.recipe.batch, self.recipe.train.seed, progress.epoch
            )
            if not len(order):
                raise UserError(f"{self.run}: no training pair is left after the length filter; raise batch.max_length")
            while progress.position < len(order):
                indices = order[progress.position]
                progress.position += 1
                own = self.world.part(indices)
                batch = load_batch(train, own) if len(own) else None
                yield Minibatch(batch, len(indices), int(train.target_lengths[indices].sum()))
            progress.epoch, progress.position = progress.epoch + 1, 0

    def _save(self, at_once: bool = False) -> None:
        """Save a checkpoint and the state at the updates that the recipe names, and at the end.

        at_once: save the state at this update in any case.
        """
        settings, step = self.recipe.train, self.progress.step
        checkpoint = step % settings.checkpoint_every == 0 or step == settings.steps
        if checkpoint and self.world.first:
            folder = self.run / "checkpoints"
            save_weights(
                folder / f"{step:09d}.safetensors", self.model.state_dict(), {"step": step, "recipe": self.recipe.name}
            )
            # Deleted after the new one is complete: a kill in between leaves one too many, never one too few.
            for old in kept_checkpoints(folder)[: -settings.keep_checkpoints]:
                old.unlink()
        if step % self.recipe.run.state_every == 0 or checkpoint or at_once:
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
        self.optimization.optimizer.load_state_dict(state["optimizer"])
        rank = self.world.rank
        if rank < len(state["rng"]):  # a process beyond those of the saved run keeps the stream of its own seed
            torch.set_rng_state(state["rng"][rank])
        if self.device.type == "cuda" and rank < len(state["cuda_rng"]):
            torch.cuda.set_rng_state(state["cuda_rng"][rank])
        self.progress, self.window = Progress(**state["progress"]), Window(**state["window"])
        if self.world.first:
            forget_later(self.run, self.progress.step)
        self._cut_log(run / "log.jsonl")

    def _cut_log(self, source: Path) -> None:
        """Keep the log's lines up to the resumed update. Later updates will be made and logged again."""
        lines = source.read_text(encoding="utf-8").split("\n") if source.is_file() else []
        kept = [line for line in lines if _logged_step(line) <= self.progress.step]
        entries = [json.loads(line) for line in kept if line]
        self._validated = max((entry["step"] for entry in entries if "dev_nll_per_token" in entry), default=0)
        if self.world.first:
            write_whole(self._log, "".join(f"{line}\n" for line in kept if line))

    def _record(self, values: dict[str, float]) -> None:
        """Add a line to the log."""
        entry = {
            "step": self.progress.step,
            "epoch": self.progress.epoch,
            "seconds": round(self.progress.seconds, 3),
            **values,
        }
        if self.world.first:
            with open(self._log, "a", encoding="utf-8") as handle:
                handle.write(json.dumps(entry) + "\n")

    def _tell(self, say: Callable[[str], None]) -> None:
        """Log the updates since the last line and report where the training is."""
        window, progress, steps = self.window, self.progress, self.recipe.train.steps
        seconds = max(window.seconds, 1e-9)
        loss, tokens, rate = window.loss / window.tokens, window.tokens / seconds, window.updates / seconds
        self._record({"loss": loss, "target_tokens_per_second": tokens, "updates_per_second": rate})
        say(
            f"{self.recipe.name} update {progress.step:,}/{steps:,} epoch {progress.epoch + 1} "
            f"loss {loss:.3f} nats/token, {tokens:,.0f} target tokens/s, {clock((steps - progress.step) / rate)} left"
        )
        self.window = Window()


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
    total, tokens = world.sum([total, tokens], device)
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
    lines = path.read_text(encoding="utf-8").split("\n") if path.is_file() else []
    return [json.loads(line) for line in lines if _logged_step(line) < math.inf]
