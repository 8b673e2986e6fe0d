"""Run folders with drawn weights, for the tests of what is done with a finished run. Nothing is trained."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

import torch
from torch import nn
from torch.nn import functional as F

from common.contract import Batch, pad
from common.ids import EOS
from common.paper import Paper
from common.recipe import Recipe
from common.result import Weights
from common.run.folder import write_recipe
from common.text.moses import Tokeniser
from common.text.pipeline import SEGMENTERS, TextPipeline
from common.text.vocabulary import SPECIALS, Vocabulary
from common.train.checkpoint import save_weights
from common.typed import plain
from tests import made_results as made

WORDS = "house dog tree man boat river stone bread king horse old white small sees takes".split()
LINES = [" ".join(Random(i).choices(WORDS, k=1 + i % 9)) + "." for i in range(200)]
"""Sentences of one to nine words."""
STEPS = (6, 8)
"""The updates whose weights a made run is the mean of."""


def pipeline(recipe: Recipe) -> TextPipeline:
    """Make the text pipeline of a recipe from LINES, the same words in both languages."""
    text, data = recipe.text, recipe.data
    tokeniser = Tokeniser(data.source, text.lowercase, text.tokeniser)
    counts = Counter(token for line in LINES for token in tokeniser.tokenise(line).split())
    kind = SEGMENTERS.get(text.segmentation)
    segmenter = kind.learn(counts, text.bpe_merges or text.vocabulary_size - SPECIALS) if kind else None
    if segmenter:
        counts = Counter(piece for word, count in counts.items() for piece in segmenter.split([word]) * count)
    vocabulary = Vocabulary.build(counts, text.vocabulary_size)
    return TextPipeline(data.source, data.target, text.lowercase, text.tokeniser, vocabulary, vocabulary, segmenter)


def drawn(paper: Paper, recipe: Recipe) -> nn.Module:
    """Return a model whose biases and norms are drawn too, so that none can be left out without a difference."""
    torch.manual_seed(recipe.train.seed)
    model = paper.build_model(recipe).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def taught(model: nn.Module, recipe: Recipe, updates: int = 100) -> nn.Module:
    """Teach a model to say LINES again, so far that its translations differ and end. It makes many mistakes."""
    text = pipeline(recipe)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for step in range(updates):
        chosen = [[*text.encode_source(line), EOS] for line in LINES[step % 8 :: 8]]
        batch = Batch(*pad(chosen), *pad(chosen))
        loss = F.cross_entropy(model(batch)[batch.target_mask], batch.target[batch.target_mask], label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def write_run(paper: Paper, recipe: Recipe, run: Path, model: nn.Module) -> None:
    """Write a run folder with the model's weights, LINES' words and a made result."""
    weights = Weights(averaged_steps=STEPS)
    write_recipe(run, recipe)
    (run / "text").mkdir()
    text = pipeline(recipe)
    assert len(text.source_vocabulary.words) + SPECIALS < text.source_vocabulary.size, "a row without a word"
    text.save(run / "text")
    save_weights(run / "model.safetensors", model.state_dict(), plain(weights))
    column = made.column(made.statistics([0.5, 0.75, 1.0]), [4, 5, 6])
    data = {"title": "made text", "licence": "made licence", "citation": "made citation",
            "train_used": {"pairs": 1234, "max_length": 50, "dropped_by_length": 0}}  # fmt: skip
    file = made.result(recipe, {"all": column}, weights=weights, paper=paper.name, data=data)
    made.write(run.parent, run.name, file)
