"""How fast beam search translates: sentences per second of the papers' systems and of Hugging Face's Marian.

    python -m benchmarks.decode      # three minutes on 2 CPU cores, or one on a GPU, into results/decode.json
    pip install transformers         # for the comparison; without it that line is left out

Every contender translates the same made-up sentences by turns, five times over on a CPU (the median counts) and once on
a GPU. The weights are random, since time does not depend on them. But they are given a bias for EOS, and EOS is barred
until a hypothesis is as long as its source, so that every hypothesis ends there, as those of a trained model do in the
mean. Marian takes one least length for a whole batch. Lengths are log-normal around those of Multi30k (CPU) or
newstest2014 (GPU).
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.peers import marian_config
from common.contract import Seq2SeqModel, longest_first, pad
from common.decode.translate import POSITIONS, SHORT, decode_ids
from common.files import write_json
from common.ids import EOS, UNK
from common.paper import Paper
from common.recipe import Decode, Recipe
from common.run.cli import guarded, utf8_output
from common.run.record import commit, environment
from common.train.loop import float32_products
from common.typed import plain
from papers.bahdanau2014.model import RNNsearch
from papers.bahdanau2014.paper import PAPER as BAHDANAU
from papers.vaswani2017.model import Transformer
from papers.vaswani2017.paper import PAPER as VASWANI

ROOT = Path(__file__).resolve().parent.parent
RESULT = Path(__file__).parent / "results" / "decode.json"
"""Where the figures are written."""
THREADS = 2
"""CPU threads."""
ENDING = 25.0
"""What is added to the logit of EOS, in nats."""
Contender = Callable[[], int]
"""Translates all sentences and returns the number of words in the translations."""


def sentences(count: int, mean: float, spread: float, words: int) -> list[list[int]]:
    """Return made-up source ids without EOS, in lengths around `mean`. spread: that of the logarithm of a length."""
    draw = np.random.default_rng(1)
    lengths = np.exp(np.log(mean) - spread**2 / 2 + spread * draw.normal(size=count)).round().clip(3, 100).astype(int)
    return [draw.integers(UNK + 1, words, size=length).tolist() for length in lengths]


def as_long_as_the_source(decode: Decode) -> Decode:
    """Return the same search with EOS barred before the source's length, and no step after the next two."""
    return replace(decode, min_factor=0.97, max_factor=1.0, max_extra=2, retry=False)


def model_of(paper: Paper, recipe: Recipe, device: torch.device) -> nn.Module:
    """Return the recipe's model with random weights that prefer EOS."""
    torch.manual_seed(1)
    model = paper.build_model(recipe).eval()
    with torch.no_grad():
        if isinstance(model, RNNsearch):
            for parameter in model.parameters():
                nn.init.normal_(parameter, std=0.1)  # at first its words are all equally likely
            assert isinstance(model.readout.b_softmax, nn.Parameter)
            model.readout.b_softmax[EOS] += ENDING
        elif isinstance(model, Transformer):
            vector = model.E[EOS]
            model.decoder[-1].feed_forward_norm.norm.bias.copy_(ENDING * vector / vector.norm() ** 2)
    return model.to(device)


def ours(paper: Paper, recipe: Recipe, text: list[list[int]], device: torch.device) -> Contender:
    """Return the translation by a recipe's own model and search."""
    model, decode = model_of(paper, recipe, device), as_long_as_the_source(recipe.decode)
    assert isinstance(model, Seq2SeqModel)
    return lambda: sum(len(best.tokens) for best in decode_ids(model, text, decode))


def marian(recipe: Recipe, text: list[list[int]], device: torch.device) -> Contender:
    """Return the translation by Hugging Face's Marian model of the same size, in batches of the same size."""
    from transformers import GenerationConfig, MarianMTModel

    beam, pads = recipe.decode.beam, recipe.text.vocabulary_size
    torch.manual_seed(1)
    model = MarianMTModel(marian_config(recipe, pads + 1, pads))
    model.final_logits_bias[0, EOS], model.final_logits_bias[0, pads] = ENDING, -1e9
    model = model.eval().to(device)
    lengths = np.array([len(words) + 1 for words in text])
    budget = POSITIONS[device.type] // beam

    def run() -> int:
        words = 0
        for batch in longest_first(lengths, budget, budget // SHORT):
            source, mask = (part.to(device) for part in pad([[*text[i], EOS] for i in batch]))
            settings = GenerationConfig(
                num_beams=beam, do_sample=False, min_new_tokens=int(lengths[batch].min()),
                max_new_tokens=source.shape[1] + 2, pad_token_id=pads, eos_token_id=EOS,
                decoder_start_token_id=pads, length_penalty=1.0,
            )  # fmt: skip
            with torch.inference_mode():
                found = model.generate(source, attention_mask=mask, generation_config=settings)
            words += int(((found != pads) & (found != EOS)).sum())
        return words

    return run


def by_turns(contenders: dict[str, Contender], count: int, turns: int, about: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each contender: seconds of each turn, and sentences per second in the median."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    words: dict[str, int] = {}
    for turn in range(turns + 1):
        for name, translate in contenders.items():
            started = time.perf_counter()
            words[name] = translate()  # its last step brings words to the CPU, so a GPU has finished too
            if turn:  # the first one warms up
                seconds[name].append(round(time.perf_counter() - started, 4))
    return [
        {
            **about,
            "contender": name,
            "sentences": count,
            "words": words[name],
            "seconds": taken,
            "sentences_per_second": round(count / statistics.median(taken), 1),
            "words_per_second": round(words[name] / statistics.median(taken)),
        }
        for name, taken in seconds.items()
    ]


def compare(
    paper: Paper, name: str, text: tuple[int, float, float], device: torch.device, *, precision: str, turns: int
) -> list[dict[str, Any]]:
    """Measure a recipe's readable and fast programs (on a GPU only the fast one) and Marian, where that is installed.

    text: number of sentences, mean of their lengths, spread of its logarithm.
    """
    recipe = paper.recipe(name)
    lines = sentences(*text, recipe.text.vocabulary_size)
    paths = ("fast",) if device.type == "cuda" else ("readable", "fast")
    contenders = {path: ours(paper, paper.recipe(name, [f"run.path={path}"]), lines, device) for path in paths}
    if paper is VASWANI:
        try:
            contenders["Hugging Face Marian"] = marian(recipe, lines, device)
        except ImportError:
            print("without Hugging Face: pip install transformers", file=sys.stderr)
    about = {"recipe": f"{paper.name}/{name}", "beam": recipe.decode.beam, "precision": precision}
    with float32_products(precision):
        return by_turns(contenders, text[0], turns, about)


def measure(device: torch.device) -> list[dict[str, Any]]:
    """Return the rows of all systems on `device`: small ones on a CPU, the papers' own on a GPU."""
    if device.type == "cuda":
        news, once = (3003, 28.0, 0.5), {"turns": 1}
        return [
            *compare(VASWANI, "base", news, device, precision="float32", **once),
            *compare(VASWANI, "base", news, device, precision="tf32", **once),
            *compare(BAHDANAU, "rnnsearch-50", news, device, precision="float32", **once),
            *compare(BAHDANAU, "rnnsearch-50", news, device, precision="tf32", **once),
        ]
    return [
        *compare(VASWANI, "multi30k/base", (200, 13.7, 0.3), device, precision="float32", turns=5),
        *compare(BAHDANAU, "multi30k/rnnsearch-50", (50, 12.0, 0.3), device, precision="float32", turns=5),
    ]


def main() -> None:
    """Measure, print a line for each contender and write the figures."""
    utf8_output()
    torch.set_num_threads(THREADS)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows = measure(device)
    for row in rows:
        print(
            f"{row['recipe']:32} {row['precision']:8} beam {row['beam']:2} {row['contender']:20} "
            f"{row['sentences_per_second']:8.1f} sentences/s {row['words_per_second']:8,} words/s"
        )
    write_json(RESULT, {"rows": rows, "environment": plain(environment(device.type)), **commit(ROOT)})


if __name__ == "__main__":
    sys.exit(guarded(main, "python -m benchmarks.decode"))
