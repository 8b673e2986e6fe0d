"""Both models learn to copy and to reverse through the real trainer and the real beam search, in about a minute."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from common.decode.translate import decode_ids
from common.ids import UNK
from common.prepare.encoded import ParallelIds, write_side
from common.train.loop import Trainer, TrainingText
from papers.bahdanau2014.paper import PAPER as BAHDANAU
from papers.vaswani2017.paper import PAPER as VASWANI

WORDS = 10
SHARED = [
    f"vocabulary_size={WORDS}",
    "batch.pool=null",
    "batch.tokens=null",
    "batch.sentences=64",
    "batch.shuffle=true",
    "run.threads=1",
    "log_every=100",
    "validate_every=10000",
    "checkpoint_every=10000",
    "state_every=10000",
    "evaluate.average=1",
]
SETTINGS = {
    "bahdanau2014": (
        BAHDANAU,
        "rnnsearch-50",
        ["hidden=48", "embedding=24", "alignment=48", "maxout=24", "step_size=8.0", "train.steps=1700"],
    ),
    "vaswani2017": (
        VASWANI,
        "base",
        [
            "N=2",
            "d_model=48",
            "d_ff=96",
            "h=4",
            "d_k=12",
            "d_v=12",
            "P_drop=0.0",
            "warmup_steps=300",
            "factor=0.6",
            "label_smoothing=0.0",
            "train.steps=1300",
        ],
    ),
}


def corpus(folder: Path, reverse: bool) -> TrainingText:
    """3,000 random sentences of 2 to 6 words, copied or reversed, and 200 others for the development set."""
    draw = random.Random(7)
    for split, count in (("train", 3000), ("valid", 200)):
        source = [[draw.randrange(UNK + 1, WORDS) for _ in range(draw.randint(2, 6))] for _ in range(count)]
        write_side(folder, split, "source", source, WORDS)
        write_side(folder, split, "target", [sentence[::-1] if reverse else sentence for sentence in source], WORDS)
    return TrainingText(ParallelIds.open(folder, "train"), ParallelIds.open(folder, "valid"), "toy")


@pytest.mark.parametrize("task", ["copy", "reverse"])
@pytest.mark.parametrize("paper", SETTINGS)
def test_learns(paper, task, tmp_path):
    plug, name, overrides = SETTINGS[paper]
    recipe = plug.recipe(name, [*SHARED, *overrides])
    torch.manual_seed(1)
    model = plug.build_model(recipe)
    data = corpus(tmp_path, task == "reverse")
    trainer = Trainer(model, plug.build_optimization(model, recipe), data, recipe, tmp_path)
    trainer.resume()
    trainer.fit(print)
    model.eval()
    pairs = [data.valid[i] for i in range(100)]
    hypotheses = decode_ids(model, [source.tolist() for source, _ in pairs], recipe.decode)
    right = sum(list(found.tokens) == target.tolist() for found, (_, target) in zip(hypotheses, pairs, strict=True))
    # Without learning none is right. By path, seed and threads RNNsearch came to 84 to 99, as rounding moves updates.
    assert right >= 80, f"{right} of 100 sentences right"
