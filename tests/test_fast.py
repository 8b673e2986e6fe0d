"""fast.py computes what model.py computes: logits, gradients, steps, beam search and attention, to 1e-10 in float64.

tests/*/test_equations.py compare the readable models with the equations in NumPy. So the fast models match them too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from common.contract import Batch, pad
from common.decode.beam import beam_search
from common.ids import EOS, START
from common.recipe import Decode, recipe_from_dict
from common.train.loss import cross_entropy_sum
from papers.bahdanau2014 import fast as bahdanau_fast
from papers.bahdanau2014 import model as bahdanau
from papers.bahdanau2014.paper import PAPER as BAHDANAU
from papers.vaswani2017 import authors
from papers.vaswani2017 import fast as vaswani_fast
from papers.vaswani2017 import model as vaswani
from papers.vaswani2017.paper import PAPER as VASWANI

WORDS = 13
SOURCES = [[4, 2, 9, 3, 12, EOS], [8, EOS], [1, 10, 5, EOS], [EOS]]
TARGETS = [[7, 3, EOS], [5, 6, 2, 8, 1, 11, EOS], [EOS], [4, 4, 9, EOS]]
SIZES = {"hidden": 5, "embedding": 3, "alignment": 7, "maxout": 4, "factored_size": 6}


@dataclass(frozen=True)
class Variant:
    """One setting of a model's switches, and its two programs."""

    readable: Callable[[Any, int], nn.Module]
    fast: Callable[[Any, int], nn.Module]
    config: Any


def recurrent() -> dict[str, Variant]:
    """Return every combination of RNNsearch's switches."""
    switches = product(("search", "encdec"), ("R1", "R2", "R3"), ("direct", "factored"), ("none", "paper", "authors"))
    return {
        " ".join(values): Variant(
            bahdanau.RNNsearch,
            bahdanau_fast.FastRNNsearch,
            bahdanau.ModelConfig(
                **dict(zip(("architecture", "step_order", "readout", "biases"), values, strict=True)), **SIZES
            ),
        )
        for values in switches
    }


def transformers() -> dict[str, Variant]:
    """Return settings of the Transformer's switches, with heads that do and do not make up d_model.

    d_k = d_v in some of them, d_k != d_v in others.
    """
    variants = {}
    for (h, d_k, d_v), bias, learned in product(((3, 4, 4), (3, 5, 7), (1, 2, 12)), (False, True), (None, 4)):
        values = {"N": 2, "d_model": 12, "d_ff": 10, "h": h, "d_k": d_k, "d_v": d_v, "attention_bias": bias}
        positions = {"positions": "learned" if learned else "sinusoidal", "learned_positions": learned}
        name = f"h={h} d_k={d_k} d_v={d_v} bias={bias} {positions['positions']}"
        config = authors.AuthorsConfig(**values, **positions, P_drop=0.4)
        variants[name] = Variant(vaswani.Transformer, vaswani_fast.FastTransformer, config)
    for sinusoids, spaces, matrices in (("halves", 0, 1), ("interleaved", 3, 2), ("halves", 3, 3)):
        config = authors.AuthorsConfig(
            2, 12, 10, 3, 5, 7, 0.4, True, "sinusoidal", None,
            sinusoids=sinusoids, target_spaces=spaces, embedding_matrices=matrices,
        )  # fmt: skip
        name = f"authors {sinusoids} spaces={spaces} matrices={matrices}"
        variants[name] = Variant(authors.AuthorsTransformer, vaswani_fast.FastTransformer, config)
    first = next(iter(variants.values()))
    return {**variants, "attention dropout": replace(first, config=replace(first.config, attention_dropout=0.3))}


RECURRENT, TRANSFORMERS = recurrent(), transformers()
VARIANTS = {**RECURRENT, **TRANSFORMERS}
every_variant = pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS.keys())


def twins(variant: Variant) -> tuple[Any, Any]:
    """Return both programs in float64, in evaluation mode, with the same weights, none of which is zero."""
    torch.manual_seed(7)
    readable = variant.readable(variant.config, WORDS).double().eval()
    for parameter in readable.parameters():
        nn.init.normal_(parameter, 0.0, 0.6)
    fast = variant.fast(variant.config, WORDS).double().eval()
    fast.load_state_dict(readable.state_dict())
    return readable, fast


def batch() -> Batch:
    return Batch(*pad(SOURCES), *pad(TARGETS))


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def loss_and_gradients(model: nn.Module, pairs: Batch | None = None) -> dict[str, Tensor | None]:
    """The loss over all words but padding, and its gradient by every parameter's name."""
    pairs = pairs or batch()
    chosen = model(pairs).log_softmax(-1).gather(2, pairs.target.unsqueeze(2)).squeeze(2)
    loss = -chosen[pairs.target_mask].sum()
    loss.backward()
    return {"loss": loss.detach(), **{name: parameter.grad for name, parameter in model.named_parameters()}}


def assert_same(ours: dict[str, Tensor | None], theirs: dict[str, Tensor | None]) -> None:
    assert list(ours) == list(theirs)
    for name, value in ours.items():
        other = theirs[name]
        assert (value is None) == (other is None), name
        if value is not None and other is not None:
            torch.testing.assert_close(
                value, other, rtol=1e-10, atol=1e-10, msg=lambda text, name=name: f"{name}: {text}"
            )


@every_variant
def test_parameters_their_order_and_their_first_values_are_the_same(variant: Variant) -> None:
    """A checkpoint, an optimizer's state and a seed mean the same to both programs."""
    drawn = []
    for kind in (variant.readable, variant.fast):
        torch.manual_seed(3)
        model = kind(variant.config, WORDS)
        drawn.append((dict(model.named_parameters()), model.state_dict(), torch.rand(3)))
    (ours, state, after), (theirs, their_state, their_after) = drawn
    assert list(ours) == list(theirs) and list(state) == list(their_state)
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    assert torch.equal(after, their_after)


@every_variant
def test_logits_are_the_same(variant: Variant) -> None:
    readable, fast = twins(variant)
    logits = readable(batch())
    assert logits.shape == (4, 7, WORDS)
    close(fast(batch()), logits)


@every_variant
def test_gradients_of_every_parameter_are_the_same(variant: Variant) -> None:
    readable, fast = twins(variant)
    gradients = loss_and_gradients(readable)
    assert sum(value is not None and bool(value.any()) for value in gradients.values()) > len(gradients) * 0.8
    assert_same(loss_and_gradients(fast), gradients)


@every_variant
def test_steps_are_the_same_on_a_beam_whose_rows_change_places(variant: Variant) -> None:
    readable, fast = twins(variant)
    draw = torch.Generator().manual_seed(1)
    states = [model.encode(*pad(SOURCES)).select(torch.arange(4).repeat_interleave(2)) for model in (readable, fast)]
    previous = torch.full((8,), START)
    with torch.inference_mode():
        for position in range(6):
            (expected, states[0]), (logits, states[1]) = (
                model.step(previous, state) for model, state in zip((readable, fast), states, strict=True)
            )
            close(logits, expected)
            # Rows stay within their sentence of two, except that the last sentence leaves after the third word.
            rows = torch.arange(0, len(previous), 2).repeat_interleave(2) + torch.randint(
                2, previous.shape, generator=draw
            )
            if position == 2:
                rows = rows[:-2]
            move = "select" if position == 2 else "reorder"
            states = [getattr(state, move)(rows) for state in states]
            previous = torch.randint(1, WORDS, (len(rows),), generator=draw)


@pytest.mark.parametrize("search", ["shrinking", "fixed"])
@every_variant
def test_beam_search_finds_the_same(variant: Variant, search: str) -> None:
    readable, fast = twins(variant)
    decode = Decode(
        beam=3, length_penalty="gnmt", alpha=0.6, search=search, max_factor=1.0, max_extra=4, min_factor=0.5,
        suppress_unk=True, retry=True,
    )  # fmt: skip
    expected, found = (beam_search(model, *pad(SOURCES), decode) for model in (readable, fast))
    for ours, theirs in zip(found, expected, strict=True):
        assert [hypothesis.tokens for hypothesis in ours] == [hypothesis.tokens for hypothesis in theirs]
        assert [hypothesis.finished for hypothesis in ours] == [hypothesis.finished for hypothesis in theirs]
        # The search adds log-probabilities in float32 whatever the model computes in.
        assert [hypothesis.score for hypothesis in ours] == pytest.approx([h.score for h in theirs], rel=1e-6)


@pytest.mark.parametrize("name", [name for name in RECURRENT if name.startswith("search")])
def test_alignments_are_the_same(name: str) -> None:
    readable, fast = twins(RECURRENT[name])
    alpha = readable.alignment(batch())
    assert alpha.shape == (4, 7, 6)
    close(fast.alignment(batch()), alpha)


@pytest.mark.parametrize("variant", TRANSFORMERS.values(), ids=TRANSFORMERS.keys())
def test_attention_maps_are_the_same(variant: Variant) -> None:
    readable, fast = twins(variant)
    expected, maps = readable.attention_maps(batch()), fast.attention_maps(batch())
    for stack in ("encoder", "decoder", "source"):
        close(getattr(maps, stack), getattr(expected, stack))


@pytest.mark.parametrize("variant", TRANSFORMERS.values(), ids=TRANSFORMERS.keys())
def test_dropout_draws_the_same_numbers_in_the_same_order(variant: Variant) -> None:
    """In training mode, one seed gives both the same loss and gradients. RNNsearch has no dropout."""
    readable, fast = (model.train() for model in twins(variant))
    results = []
    for model in (readable, fast):
        torch.manual_seed(11)
        results.append(loss_and_gradients(model))
    assert_same(*results)
    assert not torch.allclose(results[0]["loss"], loss_and_gradients(readable.eval())["loss"])


@pytest.mark.parametrize("name", ["search R1 direct paper", "encdec R1 factored authors", *list(TRANSFORMERS)[:1]])
def test_mixed_precision_stays_near(name: str) -> None:
    """Eight bits of mantissa: the loss of the same weights moves by less than two percent, in either program."""
    readable, fast = (model.float() for model in twins(VARIANTS[name]))
    pairs = batch()
    with torch.no_grad():
        expected = float(cross_entropy_sum(readable(pairs), pairs.target, pairs.target_mask))
        for model in (readable, fast):
            with torch.autocast("cpu", torch.bfloat16):
                logits = model(pairs)
            loss = float(cross_entropy_sum(logits, pairs.target, pairs.target_mask))
            assert loss == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(
    ("paper", "name", "readable", "fast"),
    [
        (BAHDANAU, "demo/rnnsearch-50", bahdanau.RNNsearch, bahdanau_fast.FastRNNsearch),
        (VASWANI, "demo/base", vaswani.Transformer, vaswani_fast.FastTransformer),
    ],
    ids=["bahdanau2014", "vaswani2017"],
)
def test_a_recipe_says_which_program_runs(paper: Any, name: str, readable: type, fast: type) -> None:
    for path, kind in (("readable", readable), ("fast", fast)):
        recipe = paper.recipe(name, [f"run.path={path}"])
        assert type(paper.build_model(recipe)) is kind
        assert recipe.to_dict()["run"]["path"] == path


def test_a_recipe_from_before_the_choice_is_the_readable_program() -> None:
    values = BAHDANAU.recipe("demo/rnnsearch-50").to_dict()
    del values["run"]["path"]
    recipe = recipe_from_dict(values, BAHDANAU.sections, "recipe.yaml")
    assert type(BAHDANAU.build_model(recipe)) is bahdanau.RNNsearch
