"""How fast the papers' own models train and decode on one GPU: the real loop at full size, data included.

    python -m benchmarks.gpu                        # about eight minutes on an H100 or H200, into results/gpu.json
    python -m benchmarks.gpu --only big-bfloat16    # one part
    python -m benchmarks.gpu --rehearse --out /tmp/gpu.json     # every line of it on a CPU, with tiny models

The text is random words in sentences about as long as the corpus's. No data is needed, since time depends on lengths
only. Each part trains by fast.py until nothing is recorded or compiled any more, and is then timed over whole epochs of
its text; the readable model follows for comparison. The part `marian` makes updates of the same minibatches by this
code and by Hugging Face's Marian, compiled too, in turns (`pip install transformers`). What a part has found is written
at once. A part that fails or finds no time left says so in its row.

FLOPs are those of `plan`: the matrix products of forward and backward passes, shared equally among the target tokens.
The share of the peak ("MFU") refers to the data sheet: dense bfloat16, dense TF32, or float32 without tensor cores.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.fx.experimental import _config as symbols

from benchmarks.lengths import draw_lengths
from benchmarks.peers import Marian
from common.errors import UserError
from common.files import write_json
from common.ids import UNK
from common.paper import Paper
from common.prepare.encoded import SIDES, ParallelIds, write_side
from common.recipe import Recipe
from common.run.cli import guarded, utf8_output
from common.run.plan import minibatch_shape, training_flops
from common.run.record import commit, environment
from common.train import loss
from common.train.batching import load_batch, minibatches
from common.train.loop import Trainer, TrainingText, read_log
from common.train.update import RecordedUpdate, Update, rounded
from common.typed import plain
from papers.bahdanau2014.paper import PAPER as BAHDANAU
from papers.vaswani2017.paper import PAPER as VASWANI

RESULT = Path(__file__).parent / "results" / "gpu.json"
"""Where the figures are written."""
MOST = 480
"""Seconds after which no part begins."""
MINIBATCHES = 30
"""About as many make up an epoch of the text."""
WARM, TIMED = 7, 4
"""Epochs before the timed ones, 200 updates or more, and most timed ones."""
PEAKS = {
    "H100": {"float32": 67e12, "tf32": 495e12, "bfloat16": 989e12},
    "H200": {"float32": 67e12, "tf32": 495e12, "bfloat16": 989e12},
    "A100": {"float32": 19.5e12, "tf32": 156e12, "bfloat16": 312e12},
}
"""FLOP/s by precision, dense, from the data sheets of the SXM cards, by a part of the card's name."""
TINY = {
    "bahdanau2014": ["hidden=24", "embedding=16", "alignment=20", "maxout=12", "batch.sentences=8"],
    "vaswani2017": ["N=2", "d_model=32", "d_ff=48", "h=2", "d_k=16", "d_v=16", "batch.tokens=400"],
}
"""Overrides by which a rehearsal makes the models small."""


@dataclass(frozen=True)
class Part:
    """A training that is measured, and the seconds that it may take."""

    paper: Paper
    recipe: str
    precision: str
    seconds: int


PARTS = {
    "base-bfloat16": Part(VASWANI, "base", "bfloat16", 85),
    "big-bfloat16": Part(VASWANI, "big", "bfloat16", 85),
    "rnnsearch-50-float32": Part(BAHDANAU, "rnnsearch-50", "float32", 35),
    "rnnsearch-50-tf32": Part(BAHDANAU, "rnnsearch-50", "tf32", 25),
    "rnnencdec-50-float32": Part(BAHDANAU, "rnnencdec-50", "float32", 20),
    "rnnencdec-50-tf32": Part(BAHDANAU, "rnnencdec-50", "tf32", 20),
    "base-tf32": Part(VASWANI, "base", "tf32", 60),
}
OTHERS = {"marian": 65, "decoding": 45}
"""Seconds of the parts that are no training."""


class _Enough(Exception):
    """The time of a part is over. What was logged until then counts."""


def write_corpus(folder: Path, recipe: Recipe, pairs: int) -> TrainingText:
    """Write `pairs` of random words and a small development set, and open them."""
    draw = np.random.default_rng(1)
    means, limit = (recipe.estimate.source_tokens, recipe.estimate.target_tokens), recipe.batch.max_length or 255
    for split, count in (("train", pairs), ("valid", 64)):
        for side, lengths in zip(SIDES, draw_lengths(draw, count, means, limit), strict=True):
            words = draw.integers(UNK + 1, recipe.text.vocabulary_size, size=lengths.sum())
            sentences = [part.tolist() for part in np.split(words, lengths.cumsum()[:-1])]
            write_side(folder, split, side, sentences, recipe.text.vocabulary_size)
    return TrainingText(ParallelIds.open(folder, "train"), ParallelIds.open(folder, "valid"), "random")


def compilations() -> int:
    """Return how many graphs torch.compile has made so far."""
    return int(importlib.import_module("torch._dynamo.utils").counters["stats"]["unique_graphs"])


def compile_seconds() -> float:
    """Return how long torch.compile has worked so far."""
    spent = importlib.import_module("torch._dynamo.utils").calculate_time_spent()
    return float(spent.get("total_wall_time", 0.0))


def recipe_of(part: Part, rehearse: bool, *overrides: str) -> Recipe:
    """Return a part's recipe, which saves nothing on the way."""
    never = [f"{key}=1000000" for key in ("train.steps", "validate_every", "checkpoint_every", "state_every")]
    tiny = [*TINY[part.paper.name], "vocabulary_size=200"] if rehearse else []
    return part.paper.recipe(
        part.recipe,
        [f"precision={part.precision}", *never, "keep_checkpoints=1", "evaluate.average=1", *tiny, *overrides],
    )


def model_of(part: Part, recipe: Recipe, device: torch.device) -> torch.nn.Module:
    """Build a recipe's model on the device, ready for training."""
    torch.manual_seed(1)
    with device:
        model = part.paper.build_model(recipe)
    if recipe.run.path == "fast":
        part.paper.accelerate(model)
    return model


def train(part: Part, recipe: Recipe, text: TrainingText, epochs: tuple[int, int], seconds: float) -> dict[str, Any]:
    """Train and return the figures of the timed epochs. epochs: those before, and the timed ones."""
    started, compiled_before = time.monotonic(), compile_seconds()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    marks: list[tuple[float, int, int]] = []
    with tempfile.TemporaryDirectory() as folder:
        model = model_of(part, recipe, device)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        trainer = Trainer(model, part.paper.build_optimization(model, recipe), text, recipe, Path(folder))

        def say(line: str) -> None:
            print(line, file=sys.stderr, flush=True)
            marks.append((time.monotonic(), compilations(), getattr(trainer.update, "shapes", 0)))
            logged = trainer.progress.step // recipe.run.log_every
            if logged >= sum(epochs) or (logged and time.monotonic() - started > seconds):
                raise _Enough

        with contextlib.suppress(_Enough):
            trainer.fit(say)
        log = read_log(Path(folder))
    marks_of_log = marks[-len(log) :]
    warm = min(epochs[0], len(log) - 1)
    each = [1 / entry["updates_per_second"] for entry in log[warm:]]
    tokens = sum(entry["target_tokens_per_second"] * second for entry, second in zip(log[warm:], each, strict=True))
    result = {
        "updates_before": warm * recipe.run.log_every,
        "updates": len(each) * recipe.run.log_every,
        "seconds_per_update": round(statistics.mean(each), 5),
        "target_tokens_per_second": round(tokens / sum(each)),
        "target_tokens_per_update": round(tokens / len(each)),
        "compile_seconds": round(compile_seconds() - compiled_before, 1),
        "compiled_while_timed": marks[-1][1] - marks_of_log[warm - 1][1] if warm else None,
        "first_loss": round(log[0]["loss"], 4),
        "last_loss": round(log[-1]["loss"], 4),
    }
    if isinstance(trainer.update, RecordedUpdate):
        # The first line comes after the first update; every later one after an epoch.
        result["seconds_to_first_update"] = round(marks[0][0] - started, 1)
        result["recorded_shapes"] = trainer.update.shapes
        result["recorded_while_timed"] = marks[-1][2] - marks_of_log[warm - 1][2] if warm else None
    if device.type == "cuda":
        result["peak_memory_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
    return result


def measure(name: str, rehearse: bool, seconds: float) -> dict[str, Any]:
    """Measure one training by the fast path, and by the readable one for the ratio."""
    part = PARTS[name]
    recipe = recipe_of(part, rehearse)
    sentences, _, target = minibatch_shape(recipe)
    epochs = (1, 1) if rehearse else (WARM, TIMED)
    with tempfile.TemporaryDirectory() as folder:
        text = write_corpus(Path(folder), recipe, (4 if rehearse else MINIBATCHES) * sentences)
        lengths = text.train.source_lengths, text.train.target_lengths
        log_every = f"log_every={len(minibatches(*lengths, recipe.batch, recipe.train.seed, 0))}"
        recipe = recipe_of(part, rehearse, "run.path=fast", log_every)
        result = train(part, recipe, text, epochs, 0.85 * seconds)
        free()
        readable = recipe_of(part, rehearse, "run.path=readable", log_every)
        beside = train(part, readable, text, (1, 1), 0.15 * seconds)
    seconds_here = result["seconds_per_update"]
    result["readable_seconds_per_update"] = beside["seconds_per_update"]
    result["times_the_readable_rate"] = round(beside["seconds_per_update"] / seconds_here, 2)
    result["hours_for_the_paper's_updates"] = round(part.paper.recipe(part.recipe).train.steps * seconds_here / 3600, 2)
    flops = training_flops(part.paper, readable) / (sentences * recipe.batch.accumulate * target)
    result["flops_per_second"] = flops * result["target_tokens_per_second"]
    for card, peaks in PEAKS.items() if torch.cuda.is_available() else ():
        if card in torch.cuda.get_device_name():
            result["share_of_peak"] = round(result["flops_per_second"] / peaks[part.precision], 4)
    return {"system": f"{part.paper.name}/{part.recipe}", "precision": part.precision, **result}


def measure_marian(rehearse: bool, seconds: float) -> dict[str, Any]:
    """Make updates of the same minibatches by this code and by Marian, both compiled, in turns."""
    started, part = time.monotonic(), PARTS["base-bfloat16"]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    recipe = recipe_of(part, rehearse, "run.path=fast")
    with tempfile.TemporaryDirectory() as folder:
        text = write_corpus(Path(folder), recipe, MINIBATCHES * minibatch_shape(recipe)[0])
        train_ids = text.train
        order = minibatches(train_ids.source_lengths, train_ids.target_lengths, recipe.batch, recipe.train.seed, 0)
        batches = [load_batch(train_ids, rows) for rows in order[:6]]
    models = {"ours": model_of(part, recipe, device), "marian": Marian(recipe).to(device)}
    models["marian"].compile(dynamic=True)
    updates: dict[str, Update] = {}
    for program, model in models.items():
        kind = RecordedUpdate if program == "ours" else Update
        optimization = part.paper.build_optimization(model, recipe)
        updates[program] = kind(model.train(), optimization, recipe.train, cross_entropy=loss.compiled())
    tokens = [int(batch.target_mask.sum()) for batch in batches]
    given = {"ours": [rounded(batch) for batch in batches], "marian": batches}
    taken: dict[str, list[float]] = {program: [] for program in updates}
    with symbols.patch(use_duck_shape=False):
        for turn in range(13):
            if turn > 4 and time.monotonic() - started > seconds:
                break
            for program, update in updates.items():
                before = time.monotonic()
                for batch, count in zip(given[program], tokens, strict=True):
                    update.begin()
                    update.add(batch, count)
                    update.finish(turn + 1)
                float(update.loss)  # waits for the GPU
                if turn > 2:  # the first turns compile and record
                    taken[program].append(time.monotonic() - before)
    rates = {program: round(sum(tokens) / statistics.median(times)) for program, times in taken.items()}
    return {
        "turns": len(taken["ours"]),
        "target_tokens_per_second": rates,
        "times_marians_rate": round(rates["ours"] / rates["marian"], 3),
    }


def measure_decoding(rehearse: bool) -> dict[str, Any]:
    """Measure decoding of both papers by benchmarks/decode.py."""
    if rehearse:
        return {"skipped": "python -m benchmarks.decode has a run of its own"}
    device = torch.device("cuda")
    return {"rows": importlib.import_module("benchmarks.decode").measure(device)}


def free() -> None:
    """Forget what was compiled, since the variants of a function are limited in number, and give memory back."""
    torch.compiler.reset()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def attempt(name: str, work: Callable[[], dict[str, Any]], left: float) -> dict[str, Any]:
    """Return a part's row: its figures, or why there are none."""
    started = time.monotonic()
    if left <= 0:
        return {"part": name, "missing": "no time was left"}
    try:
        found = work()
    except Exception as error:  # the other parts are worth having
        traceback.print_exc()
        found = {"missing": f"{type(error).__name__}: {error}".splitlines()[0]}
    free()
    return {"part": name, **found, "seconds": round(time.monotonic() - started, 1)}


def main() -> None:
    """Measure the parts, print each and write the figures."""
    utf8_output()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = [*PARTS, *OTHERS]
    parser.add_argument("--only", action="append", choices=parts, help="a part; several times for several")
    parser.add_argument("--rehearse", action="store_true", help="a few updates of tiny models, on a CPU too")
    parser.add_argument("--out", type=Path, help=f"default: {RESULT.name} of a real run")
    given = parser.parse_args()
    if not (torch.cuda.is_available() or given.rehearse):
        raise UserError("no GPU is here; --rehearse makes a few updates of tiny models on the CPU")
    if given.rehearse and given.out is None:
        raise UserError("--rehearse makes no figures to keep; write --out FILE")
    if given.rehearse:
        torch.compiler.set_stance("default", force_backend="eager")
    root, rows, started = Path(__file__).resolve().parent.parent, [], time.monotonic()
    chosen = given.only or parts
    # What an earlier run has compiled would make the seconds of compiling too few.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as cache:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
        for name in chosen:
            left = started + MOST - time.monotonic()
            seconds = min(left, PARTS[name].seconds if name in PARTS else OTHERS[name])
            works: dict[str, Callable[[], dict[str, Any]]] = {
                "marian": lambda seconds=seconds: measure_marian(given.rehearse, seconds),
                "decoding": lambda: measure_decoding(given.rehearse),
            }
            training = lambda name=name, seconds=seconds: measure(name, given.rehearse, seconds)  # noqa: E731
            rows.append(attempt(name, works.get(name, training), left))
            print(rows[-1], flush=True)
            about = {"seconds": round(time.monotonic() - started, 1), "environment": plain(environment())}
            write_json(
                given.out or RESULT, {"rows": rows, **about, **commit(root)}
            )  # after each: a later one may be killed


if __name__ == "__main__":
    sys.exit(guarded(main, "python -m benchmarks.gpu"))
