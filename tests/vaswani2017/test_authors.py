"""What the authors' code has otherwise than the paper, against its own formulas and against model.py without it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from common.contract import Batch, pad
from common.errors import UserError
from common.ids import EOS, START
from common.recipe import difference
from papers.vaswani2017.authors import AuthorsConfig, AuthorsTransformer, sinusoids_in_halves
from papers.vaswani2017.model import Transformer, sinusoids
from papers.vaswani2017.paper import PAPER

V, D = 11, 8


def config(**changes: Any) -> AuthorsConfig:
    """Return a small configuration with the paper's values but for `changes`."""
    return AuthorsConfig(**{**vars(AuthorsConfig(2, D, 5, 3, 2, 4, 0.0, False, "sinusoidal", None)), **changes})


def build(**changes: Any) -> AuthorsTransformer:
    torch.manual_seed(5)
    return AuthorsTransformer(config(**changes), V).double().eval()


def batch() -> Batch:
    return Batch(*pad([[3, 4, 5, EOS], [6, EOS]]), *pad([[7, EOS], [8, 9, 10, 3, EOS]]))


ALL = {"attention_bias": True, "sinusoids": "halves", "target_spaces": 4, "embedding_matrices": 3}


@pytest.mark.parametrize("d", [4, 8, 512])
def test_halves_are_the_codes_formula(d: int) -> None:
    """v1.0 computes inverse timescales that fall geometrically from 1 to 1/10,000, both ends included."""
    step = math.log(1.0e4 / 1.0) / (d // 2 - 1)
    inverse = np.exp(np.arange(d // 2) * -step)
    time = np.arange(300)[:, None] * inverse[None, :]
    expected = np.concatenate([np.sin(time), np.cos(time)], axis=1)
    np.testing.assert_allclose(sinusoids_in_halves(300, d), expected, atol=1e-10)
    assert inverse[-1] == pytest.approx(1e-4, rel=1e-12)


def test_halves_are_another_function_than_the_papers_and_not_a_permutation() -> None:
    ours, theirs = sinusoids(50, D), sinusoids_in_halves(50, D)
    assert torch.equal(ours[:, 0], theirs[:, 0]) and torch.equal(ours[:, 1], theirs[:, D // 2])
    apart = [min(float((ours[:, i] - theirs[:, j]).abs().max()) for j in range(D)) for i in range(2, D)]
    assert min(apart) > 1e-4


def test_the_table_grows_with_the_same_formula() -> None:
    model = build(sinusoids="halves")
    assert not any("positions" in name for name in model.state_dict())
    for positions in (model.source_positions, model.target_positions):
        torch.testing.assert_close(positions(300, 400), sinusoids_in_halves(700, D)[300:])


def test_without_its_fields_it_is_the_papers_model() -> None:
    """The same names, first values, place in the random numbers, and logits."""
    drawn = []
    for kind in (Transformer, AuthorsTransformer):
        torch.manual_seed(3)
        model = kind(config(), V)
        drawn.append((model.state_dict(), torch.rand(2), model.eval()(batch())))
    (ours, after, logits), (theirs, their_after, their_logits) = drawn
    assert list(ours) == list(theirs) and all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert torch.equal(after, their_after) and torch.equal(logits, their_logits)
    assert not config().departs


@pytest.mark.parametrize("changes", [{"sinusoids": "halves"}, {"target_spaces": 4}, {"embedding_matrices": 2}])
def test_each_field_changes_the_logits(changes: dict[str, Any]) -> None:
    assert config(**changes).departs
    plain, model = build(), build(**changes)
    model.load_state_dict(plain.state_dict(), strict=False)
    assert (model(batch()) - plain(batch())).abs().max() > 1e-3


def test_the_target_space_is_added_to_every_source_word_and_to_no_target_word() -> None:
    plain, model = build(), build(target_spaces=4)
    assert dict(model.named_parameters())["source_positions.spaces"].shape == (4, D)
    words = torch.tensor([[3, 4, EOS]])
    vectors = [one._embed(words, one.E, one.source_positions, first=0) for one in (plain, model)]
    space = model.source_positions.spaces[0]
    torch.testing.assert_close(vectors[1] - vectors[0], space.expand(1, 3, D))
    shifted = torch.tensor([[START, 7]])
    targets = [one._embed(shifted, one.E, one.target_positions, first=0) for one in (plain, model)]
    assert torch.equal(*targets)
    with torch.no_grad():
        space.zero_()
    assert torch.equal(model(batch()), plain(batch()))


def test_one_row_of_the_target_spaces_is_trained() -> None:
    model = build(target_spaces=4)
    model(batch())[0, 1, 9].backward()
    assert model.source_positions.spaces.grad.any(dim=1).tolist() == [True, False, False, False]


def test_matrices_of_their_own_serve_one_use_each() -> None:
    """The gradient of the score of word 9 after 7, of source words 3 and EOS, reaches just these rows."""
    pair = Batch(*pad([[3, EOS]]), *pad([[7, 8, EOS]]))
    for matrices, expected in (
        (3, {"E_source": {3, EOS}, "E_target": {7}, "E_softmax": {9}}),
        (2, {"E_source": {3, EOS}, "E_decoder": {7, 9}}),
    ):
        model = build(embedding_matrices=matrices)
        model(pair)[0, 1, 9].backward()
        found = {name: value.grad for name, value in model.named_parameters() if V in value.shape}
        assert {name: {row for row in range(V) if grad[row].any()} for name, grad in found.items()} == expected


def test_a_word_after_another_gives_what_all_at_once_give() -> None:
    model, pairs = build(**ALL), batch()
    state, stepped = model.encode(pairs.source, pairs.source_mask), []
    for previous in pairs.previous.unbind(1):
        logits, state = model.step(previous, state)
        stepped.append(logits)
    torch.testing.assert_close(torch.stack(stepped, 1), model(pairs))


def test_first_values_are_the_codes() -> None:
    """Each word matrix from N(0, 1/d), the target spaces Glorot-uniform, and no two matrices equal."""
    torch.manual_seed(2)
    model = AuthorsTransformer(config(**{**ALL, "d_model": 256, "target_spaces": 32}), 3000)
    for name, value in model.named_parameters():
        if 3000 in value.shape:
            assert value.std().item() == pytest.approx(256**-0.5, rel=0.01), name
    spaces = model.source_positions.spaces.detach()
    bound = math.sqrt(6 / (32 + 256))
    assert 0.99 * bound < spaces.abs().max() <= bound and spaces.std().item() == pytest.approx(bound / 3**0.5, rel=0.03)
    assert not torch.equal(model.E_source, model.E_target) and not torch.equal(model.E_target, model.E_softmax)


def test_the_recipes_change_what_the_code_changes_and_nothing_else() -> None:
    v1 = {"model.attention_bias": True, "model.sinusoids": "halves", "model.target_spaces": 32}
    german, french = {"text.vocabulary_size": 40_960}, {"text.vocabulary_size": 32_768}
    big_french = {"model.d_ff": 8192, "model.embedding_matrices": 3}
    expected = {
        "": ("base", german),
        "-big": ("big", german),
        "-enfr": ("base-enfr", {**french, "model.embedding_matrices": 2}),
        "-big-enfr": ("big-enfr", {**french, **big_french}),
    }
    for suffix, (paper, changes) in expected.items():
        changed = difference(PAPER.recipe(f"variants/authors-v1{suffix}"), PAPER.recipe(paper))
        assert {key: ours for key, (ours, _) in changed.items()} == {**v1, **changes}


def test_recipes_without_the_fields_keep_their_hash() -> None:
    """The hash of a recipe is that of its values without the fields that came later."""
    base = PAPER.recipe("base")
    changed = {PAPER.recipe("base", [word]).sha256 for word in ("sinusoids=halves", "target_spaces=1")}
    written_out = ("sinusoids=interleaved", "target_spaces=0", "embedding_matrices=1")
    assert PAPER.recipe("base", written_out).sha256 == base.sha256 and base.sha256 not in changed


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (["sinusoids=both"], "sinusoids"),
        (["embedding_matrices=4"], "embedding_matrices"),
        (["target_spaces=-1"], "target_spaces"),
        (["sinusoids=halves", "d_model=2"], "d_model"),
        (["sinusoids=halves", "positions=learned", "learned_positions=9"], "sinusoids"),
    ],
)
def test_values_out_of_range_are_refused_by_name(words: list[str], key: str) -> None:
    with pytest.raises(UserError, match=f"model.{key}"):
        PAPER.recipe("base", words)
