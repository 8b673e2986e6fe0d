"""The counts of Table 3: the search's formula against models, its windows against counting one by one, the page."""

from __future__ import annotations

from dataclasses import replace

import pytest

from papers.vaswani2017 import parameters
from papers.vaswani2017.paper import PAPER
from papers.vaswani2017.parameters import SINGLE_CHANGES, V1, VOCABULARIES, Counting

PAPERS_OWN = replace(V1, **SINGLE_CHANGES["the paper's equations"])


@pytest.mark.parametrize(
    ("counting", "name", "overrides"),
    [
        (PAPERS_OWN, "base", ()),
        (PAPERS_OWN, "table3-B-dk16", ()),
        (replace(PAPERS_OWN, position_rows=256), "table3-E-learned", ()),
        (V1, "variants/authors-v1", ()),
        (V1, "variants/authors-v1", ("N=2", "d_model=24", "d_ff=40", "h=3", "d_k=5", "d_v=7", "vocabulary_size=50")),
        (replace(V1, matrices=2), "variants/authors-v1-enfr", ()),
        (replace(V1, matrices=3), "variants/authors-v1-big-enfr", ()),
        (replace(V1, attention_biases=False), "variants/authors-v1", ("attention_bias=false",)),
        (replace(V1, target_spaces=0), "variants/authors-v1", ("target_spaces=0",)),
    ],
)
def test_the_formula_is_the_models(counting: Counting, name: str, overrides: tuple[str, ...]) -> None:
    recipe = PAPER.recipe(name, overrides)
    words = recipe.text.vocabulary_size
    assert counting.body(recipe.model) + words * counting.per_word(recipe.model) == parameters.total(recipe)


def test_ways_to_count_that_no_recipe_has() -> None:
    """By hand, for base: 30 norms of 512, 36 biases of 2048 or 512 in feed-forward layers."""
    model = PAPER.recipe("base").model
    whole = V1.body(model)
    assert whole - replace(V1, norms=0.0).body(model) == 30 * 1024
    assert whole - replace(V1, norms=0.5).body(model) == 30 * 512
    assert replace(V1, top_norms=True).body(model) - whole == 2 * 1024
    assert whole - replace(V1, feed_forward_biases=False).body(model) == 12 * (2048 + 512)
    assert replace(V1, softmax_bias=True).per_word(model) == 513


@pytest.mark.parametrize("down", [False, True])
def test_windows_are_what_counting_one_by_one_finds(down: bool) -> None:
    counting, model = replace(V1, down=down), PAPER.recipe("table3-C-d256").model
    totals = {words: (counting.body(model) + words * counting.per_word(model)) / 1e6 for words in range(35_000, 47_000)}
    fits = [words for words, millions in totals.items() if (int(millions) if down else round(millions)) == 28]
    assert [fits[0], fits[-1]] == [(window := counting.vocabularies(model, 28))[0], window[-1]]
    assert len(fits) == len(window)


def test_the_best_number_of_words_is_the_best_of_all() -> None:
    printed = {"table3-base": 65, "table3-C-N2": 36, "table3-C-d256": 28, parameters.BIG: 213}
    models = {row: PAPER.recipe(row).model for row in printed}
    agreeing, words = V1.best(models, printed)
    windows = {row: V1.vocabularies(models[row], millions) for row, millions in printed.items()}
    counts = [sum(number in window for window in windows.values()) for number in VOCABULARIES]
    assert max(counts) == len(agreeing) and all(agreeing == [r for r in printed if n in windows[r]] for n in words)
    together = [c for c, number in zip(counts, VOCABULARIES, strict=True) if number in windows[parameters.BIG]]
    assert parameters._most_with_big(V1, models, printed) == max(together)


def test_every_combination_is_tried_once() -> None:
    countings = parameters.all_countings()
    assert len({*countings}) == len(countings) and {V1, PAPERS_OWN} < {*countings}
    assert all(replace(V1, **changes) in countings for changes in SINGLE_CHANGES.values())


def test_the_page_is_current() -> None:
    assert parameters.page() == parameters.PAGE.read_text(encoding="utf-8"), "python -m papers.vaswani2017.parameters"
