"""Beam search against exhaustive enumeration and against the authors' two algorithms written with lists.

The toy models compute the next word's distribution from the source and the whole prefix, and keep both in
their state, so that a state that did not follow its hypothesis, or left its sentence, changes the result.
"""

from __future__ import annotations

import functools
import itertools
import math
import random
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from common.contract import pad
from common.decode.beam import Hypothesis, _best, beam_search, length_penalty
from common.errors import UserError
from common.ids import EOS, START, UNK
from common.recipe import Decode

PENALTIES = [("none", 0.0), ("mean", 0.0), ("gnmt", 0.0), ("gnmt", 0.6), ("gnmt", 1.0)]
SEARCHES = ["shrinking", "fixed"]
NEVER = -math.inf


def settings_for(**changes) -> Decode:
    plain = dict(beam=4, length_penalty="none", alpha=0.0, search="fixed", max_factor=1.0, max_extra=0,
                 min_factor=0.0, suppress_unk=False, retry=False)  # fmt: skip
    return Decode(**{**plain, **changes})


@dataclass(frozen=True)
class PrefixState:
    prefix: Tensor  # (N, t) every word fed so far, START first
    source: Tensor  # (N, S) with -1 on padding

    def select(self, rows: Tensor) -> PrefixState:
        return PrefixState(self.prefix[rows], self.source[rows])

    def reorder(self, rows: Tensor) -> PrefixState:
        assert len(rows) == len(self.prefix)
        assert not torch.equal(rows, torch.arange(len(rows))), "the identity is to be skipped"
        return PrefixState(self.prefix[rows], self.source)


class ToyModel:
    """`table(source words, prefix words) -> V logits`, behind the protocol; counts the rows of each step."""

    def __init__(self, table) -> None:
        self.table = table
        self.rows: list[int] = []

    def encode(self, source: Tensor, source_mask: Tensor) -> PrefixState:
        return PrefixState(source.new_empty(len(source), 0), source.masked_fill(~source_mask, -1))

    def step(self, previous: Tensor, state: PrefixState) -> tuple[Tensor, PrefixState]:
        self.rows.append(len(previous))
        assert state.prefix.shape[0] == state.source.shape[0] == len(previous)
        prefix = torch.cat([state.prefix, previous[:, None]], dim=1)
        assert (prefix[:, 0] == START).all()
        logits = [
            self.table(tuple(word for word in source if word >= 0), tuple(words[1:]))
            for source, words in zip(state.source.tolist(), prefix.tolist(), strict=True)
        ]
        return torch.tensor(logits, dtype=torch.float32), PrefixState(prefix, state.source)


def hashed(seed: int, vocabulary: int, spread: float = 2.0):
    """Make a table that draws logits from a generator, seeded with everything that they may depend on."""

    @functools.cache
    def table(source: tuple[int, ...], prefix: tuple[int, ...]) -> list[float]:
        generator = random.Random(f"{seed} {source} {prefix}")
        return [generator.gauss(0.0, spread) for _ in range(vocabulary)]

    return table


def log_probabilities(table, source, prefix, *, suppress_unk: bool, bar_eos: bool) -> list[float]:
    logits = table(source, prefix)
    top = max(logits)
    total = top + math.log(sum(math.exp(value - top) for value in logits))
    values = [value - total for value in logits]
    if suppress_unk:
        values[UNK] = NEVER
    if bar_eos:
        values[EOS] = NEVER
    return values


def penalised(log_p: float, length: int, decode: Decode) -> float:
    if decode.length_penalty == "none":
        return log_p
    return log_p / (length if decode.length_penalty == "mean" else ((5 + length) / 6) ** decode.alpha)


def bounds(source, decode: Decode) -> tuple[int, int]:
    """Return the number of steps at which EOS is barred, and of all steps."""
    return math.floor(decode.min_factor * len(source)), math.floor(decode.max_factor * len(source)) + decode.max_extra


def enumerate_all(table, source, decode: Decode) -> list[Hypothesis]:
    """Return every sentence within the limits, the best first. This oracle searches nothing."""
    minimum, limit = bounds(source, decode)
    vocabulary = len(table(source, ()))
    words = [word for word in range(vocabulary) if word != EOS and not (word == UNK and decode.suppress_unk)]
    found = []
    for length in range(minimum + 1, limit + 1):
        for tokens in itertools.product(words, repeat=length - 1):
            log_p = sum(
                log_probabilities(table, source, tokens[:i], suppress_unk=False, bar_eos=False)[word]
                for i, word in enumerate((*tokens, EOS))
            )
            found.append(Hypothesis(tokens, penalised(log_p, length, decode), True))
    return sorted(found, key=lambda hypothesis: -hypothesis.score)


def groundhog(table, source, decode: Decode) -> list[Hypothesis]:
    """GroundHog's search, whose beam shrinks, for one sentence and without its retry."""
    minimum, limit = bounds(source, decode)
    n, live, finished = decode.beam, [((), 0.0)], []
    for k in range(limit):
        if n == 0:
            break
        options = []
        for tokens, log_p in live:
            values = log_probabilities(table, source, tokens, suppress_unk=decode.suppress_unk, bar_eos=k < minimum)
            options += [(log_p + value, tokens, word) for word, value in enumerate(values) if value > NEVER]
        options.sort(key=lambda option: -option[0])
        live = []
        for log_p, tokens, word in options[:n]:
            if word == EOS:
                n -= 1
                finished.append(Hypothesis(tokens, penalised(log_p, len(tokens) + 1, decode), True))
            else:
                live.append(((*tokens, word), log_p))
    finished = finished or [Hypothesis(t, penalised(log_p, len(t), decode), False) for t, log_p in live]
    return sorted(finished, key=lambda hypothesis: -hypothesis.score)


def tensor2tensor(table, source, decode: Decode, stop_early: bool) -> tuple[list[Hypothesis], int]:
    """tensor2tensor's search with its beam of fixed size for one sentence. It also returns the number of steps."""
    minimum, limit = bounds(source, decode)
    live, finished = [((), 0.0)], []
    for i in range(limit):
        options = []
        for tokens, log_p in live:
            values = log_probabilities(table, source, tokens, suppress_unk=decode.suppress_unk, bar_eos=i < minimum)
            options += [((*tokens, word), log_p + value) for word, value in enumerate(values) if value > NEVER]
        options.sort(key=lambda option: -option[1])
        options = options[: 2 * decode.beam]
        live = [option for option in options if option[0][-1] != EOS][: decode.beam]
        ended = [option for option in options if option[0][-1] == EOS]
        finished += [Hypothesis(t[:-1], penalised(log_p, i + 1, decode), True) for t, log_p in ended]
        finished = sorted(finished, key=lambda hypothesis: -hypothesis.score)[: decode.beam]
        full = len(finished) == decode.beam
        if not live or (stop_early and full and finished[-1].score > penalised(live[0][1], limit, decode)):
            break
    finished = finished or [Hypothesis(t, penalised(log_p, len(t), decode), False) for t, log_p in live]
    return sorted(finished, key=lambda hypothesis: -hypothesis.score), i + 1


def reference(table, source, decode: Decode) -> list[Hypothesis]:
    if decode.search == "shrinking":
        return groundhog(table, source, decode)
    return tensor2tensor(table, source, decode, stop_early=False)[0]


def search(table, sources, decode: Decode) -> list[list[Hypothesis]]:
    return beam_search(ToyModel(table), *pad([list(source) for source in sources]), decode)


def assert_same(found: list[Hypothesis], expected: list[Hypothesis]) -> None:
    assert [(h.tokens, h.finished) for h in found] == [(h.tokens, h.finished) for h in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.score == pytest.approx(theirs.score, abs=1e-5)


SOURCES = [(5, 3, 0), (4, 2, 3, 6, 0), (2, 2, 2, 0)]
"""Three lengths, hence three limits, in one batch."""


@pytest.mark.parametrize("penalty, alpha", PENALTIES)
@pytest.mark.parametrize("kind", SEARCHES)
@pytest.mark.parametrize("restriction", [{}, {"min_factor": 0.5}, {"suppress_unk": True}])
@pytest.mark.parametrize("vocabulary, extra", [(3, 1), (4, -1)])
def test_a_wide_beam_finds_all_sentences_in_order(kind, penalty, alpha, restriction, vocabulary, extra):
    """Three words, up to 6 tokens, and four words, up to 4: 63 and 40 sentences; a beam of 240 leaves none out."""
    table = hashed(11, vocabulary)
    decode = settings_for(beam=240, search=kind, length_penalty=penalty, alpha=alpha, max_extra=extra, **restriction)
    for source, found in zip(SOURCES, search(table, SOURCES, decode), strict=True):
        assert_same(found, enumerate_all(table, source, decode))


@pytest.mark.parametrize("penalty, alpha", PENALTIES)
@pytest.mark.parametrize("kind", SEARCHES)
def test_a_narrow_beam_prunes_as_the_authors_do(kind, penalty, alpha):
    unfinished = 0
    for seed in range(40):
        generator = random.Random(seed)
        decode = settings_for(
            beam=generator.randint(1 if kind == "shrinking" else 2, 5), search=kind, length_penalty=penalty,
            alpha=alpha, max_factor=generator.choice([0.5, 1.5]), max_extra=generator.randint(0, 5),
            min_factor=generator.choice([0.0, 0.5]), suppress_unk=generator.random() < 0.5,
        )  # fmt: skip
        table = hashed(seed, generator.randint(3, 7), generator.choice([0.5, 3.0]))
        for source, found in zip(SOURCES, search(table, SOURCES, decode), strict=True):
            assert_same(found, reference(table, source, decode))
            unfinished += not found[0].finished
    assert unfinished > 0, "the seeds are meant to cover sentences cut off by the limit"


def test_the_two_searches_differ():
    """If they did not, the tests above could not distinguish them."""
    differ = 0
    for seed in range(10):
        kinds = [settings_for(beam=3, search=kind, max_extra=3) for kind in SEARCHES]
        shrinking, fixed = (search(hashed(seed, 5), SOURCES[:1], decode)[0] for decode in kinds)
        differ += shrinking[0].tokens != fixed[0].tokens
    assert differ > 0


@pytest.mark.parametrize("kind", SEARCHES)
@pytest.mark.parametrize("restriction", [{}, {"min_factor": 1.0}, {"suppress_unk": True}])
def test_beam_one_is_the_argmax_loop(kind, restriction):
    decode = settings_for(beam=1, search=kind, max_factor=2.0, **restriction)
    for seed in range(20):
        table = hashed(seed, 4)
        for source, found in zip(SOURCES, search(table, SOURCES, decode), strict=True):
            tokens, total, (minimum, limit) = (), 0.0, bounds(source, decode)
            while len(tokens) < limit and EOS not in tokens:
                values = log_probabilities(
                    table, source, tokens, suppress_unk=decode.suppress_unk, bar_eos=len(tokens) < minimum
                )
                total += max(values)
                tokens += (values.index(max(values)),)
            finished = tokens[-1] == EOS
            assert_same(
                found,
                [Hypothesis(tokens[:-1] if finished else tokens, penalised(total, len(tokens), decode), finished)],
            )


@pytest.mark.parametrize("penalty, alpha", PENALTIES)
def test_stopping_early_saves_steps_and_changes_nothing(penalty, alpha):
    saved = 0
    for seed in range(30):
        table, source = hashed(seed, 4, 1.5), SOURCES[0]
        decode = settings_for(beam=2, length_penalty=penalty, alpha=alpha, max_extra=5)
        model = ToyModel(table)
        [found] = beam_search(model, *pad([list(source)]), decode)
        expected, steps = tensor2tensor(table, source, decode, stop_early=False)
        assert_same(found, expected)
        assert len(model.rows) == tensor2tensor(table, source, decode, stop_early=True)[1]
        saved += steps - len(model.rows)
    assert saved > 0


@given(data=st.data())
@settings(max_examples=60)
def test_neither_batch_size_nor_order_changes_a_result(data):
    word = st.integers(2, 6)
    sources = data.draw(st.lists(st.lists(word, max_size=5).map(lambda words: (*words, EOS)), min_size=1, max_size=7))
    penalty, alpha = data.draw(st.sampled_from(PENALTIES))
    decode = settings_for(
        beam=data.draw(st.integers(1, 4)), search=data.draw(st.sampled_from(SEARCHES)), length_penalty=penalty,
        alpha=alpha, max_extra=data.draw(st.integers(0, 4)), min_factor=data.draw(st.sampled_from([0.0, 0.5])),
        suppress_unk=data.draw(st.booleans()), retry=data.draw(st.booleans()),
    )  # fmt: skip
    table = hashed(data.draw(st.integers(0, 10**6)), data.draw(st.integers(3, 6)))
    alone = [search(table, [source], decode)[0] for source in sources]
    order = data.draw(st.permutations(range(len(sources))))
    cut = data.draw(st.integers(0, len(order)))
    for part in (order[:cut], order[cut:]):
        if part:
            for index, found in zip(part, search(table, [sources[i] for i in part], decode), strict=True):
                assert_same(found, alone[index])


@pytest.mark.parametrize("kind", SEARCHES)
def test_equal_scores_go_to_the_earlier_row_then_the_lower_word(kind):
    """Four equally likely words: everything ties, and every hypothesis of a length has exactly the same score."""
    decode = settings_for(beam=3, search=kind, max_extra=1)
    for source, found in zip(SOURCES, search(lambda source, prefix: [0.0] * 4, SOURCES, decode), strict=True):
        assert_same(found, reference(lambda source, prefix: [0.0] * 4, source, decode))


@pytest.mark.parametrize("width, count", [(7, 4), (4, 4), (600, 8), (9_001, 8)])
def test_the_best_are_those_of_a_stable_sort(width, count):
    """There are ties inside and at the edge of what is kept, also where maxima of chunks are found first.

    Impossible words need not be in order.
    """
    generator = torch.Generator().manual_seed(5)
    scores = -torch.randint(0, 5, (50, width), generator=generator).float()
    scores[scores == -4.0] = NEVER
    scores[::3] *= torch.rand(17, width, generator=generator)
    values, places = _best(scores, count)
    for row, (found, where) in enumerate(zip(values.tolist(), places.tolist(), strict=True)):
        expected = sorted(range(width), key=lambda place: -scores[row, place].item())[:count]
        assert found == scores[row, expected].tolist()
        possible = sum(value > NEVER for value in found)
        assert where[:possible] == expected[:possible]


def test_limits_belong_to_the_sentence():
    """Without EOS a sentence stops at 2 x its own tokens + 1; with nothing but EOS, as soon as it is not barred."""
    decode = settings_for(beam=2, max_factor=2.0, max_extra=1, search="shrinking")
    found = search(lambda source, prefix: [NEVER, 0.0, 1.0], SOURCES, decode)
    assert [len(hypotheses[0].tokens) for hypotheses in found] == [7, 11, 9]
    assert not any(h.finished for hypotheses in found for h in hypotheses)
    eager = settings_for(beam=1, min_factor=0.5, search="shrinking")
    found = search(lambda source, prefix: [9.0, 0.0, 1.0], SOURCES, eager)
    assert [len(hypotheses[0].tokens) for hypotheses in found] == [1, 2, 2]
    assert all(hypotheses[0].finished for hypotheses in found)


@pytest.mark.parametrize("kind", SEARCHES)
def test_finished_sentences_leave_the_batch(kind):
    """Every sentence copies its source, so sentence b is over after its own number of steps."""

    def table(source, prefix):
        logits = [NEVER] * 7
        logits[source[len(prefix)]] = 0.0
        return logits

    model = ToyModel(table)
    found = beam_search(
        model, *pad([list(source) for source in SOURCES]), settings_for(beam=3, search=kind, max_factor=3.0)
    )
    assert [hypotheses[0].tokens for hypotheses in found] == [source[:-1] for source in SOURCES]
    assert model.rows == [3, 9, 9, 6, 3], "one row a sentence at the first step"


def endings(*paths: tuple[int, ...], vocabulary: int):
    """Make a table in which words 1, 2, .. fall in probability, a first word repeats for ever, and only `paths` end."""

    def table(source, prefix):
        if not prefix:
            return [NEVER] + [-float(word) for word in range(1, vocabulary)]
        logits = [NEVER] * vocabulary
        logits[EOS if prefix in paths else prefix[0]] = 0.0
        return logits

    return table


def test_retry_allows_unk_before_it_widens_the_beam():
    model = ToyModel(endings((UNK, UNK), vocabulary=4))
    decode = settings_for(beam=1, search="shrinking", suppress_unk=True, retry=True)
    [found] = beam_search(model, *pad([[5, 3, 0]]), decode)
    assert [(h.tokens, h.finished) for h in found] == [((UNK, UNK), True)]
    assert model.rows == [1] * 6


def test_retry_doubles_the_beam_until_a_hypothesis_finishes():
    """Only a hypothesis that begins with word 6, sixth in rank, ends: beams 1, 2 and 4 miss it, 8 does not."""
    model = ToyModel(endings((6,), vocabulary=7))
    [found] = beam_search(model, *pad([[5, 3, 0]]), settings_for(beam=1, search="shrinking", retry=True))
    assert [(h.tokens, h.finished) for h in found] == [((6,), True)]
    assert model.rows == [1, 1, 1, 1, 2, 2, 1, 4, 4, 1, 8, 8]
    [found] = search(endings((6,), vocabulary=7), [(5, 3, 0)], settings_for(beam=1, search="shrinking"))
    assert [(h.tokens, h.finished) for h in found] == [((1, 1, 1), False)]


def test_retry_takes_only_the_sentences_that_failed_and_no_more_rows_than_at_first():
    def table(source, prefix):
        return endings((source[0],), vocabulary=7)(source, prefix)

    model = ToyModel(table)
    sources = [(1, 3, 0), (6, 2, 3, 0), (2, 4, 0), (5, 0)]
    found = beam_search(
        model, *pad([list(source) for source in sources]), settings_for(beam=2, search="shrinking", retry=True)
    )
    assert [h[0].tokens for h in found] == [(1,), (6,), (2,), (5,)]
    assert all(h[0].finished for h in found)
    assert max(model.rows) == 8
    assert model.rows[-6:] == [1, 8, 8, 8, 1, 8], "beam 8 for two sentences, one at a time"


@pytest.mark.parametrize("beam, widest", [(10, 640), (250, 500), (500, 500), (499, 998)])
def test_retry_gives_up_at_500(beam, widest):
    """GroundHog raises here; the best unfinished hypothesis is returned instead."""
    model = ToyModel(endings(vocabulary=4))
    [found] = beam_search(model, *pad([[3, 0]]), settings_for(beam=beam, search="shrinking", retry=True))
    assert (found[0].tokens, found[0].finished) == ((UNK, UNK), False)
    assert max(model.rows) == widest


def test_the_penalty_divides_by_the_count_with_eos():
    [found] = search(endings((2, 2), vocabulary=3), [(5, 3, 0)], settings_for(length_penalty="mean", beam=2))
    log_p = -math.log(1 + math.e)
    assert_same(found, [Hypothesis((2, 2), log_p / 3, True)])
    assert length_penalty(10, settings_for(length_penalty="gnmt", alpha=0.6)) == pytest.approx(1.7329, abs=1e-4)
    assert length_penalty(100, settings_for(length_penalty="gnmt", alpha=0.6)) == pytest.approx(5.5696, abs=1e-4)


def test_probabilities_that_are_no_numbers_are_reported():
    with pytest.raises(UserError, match="no word a probability"):
        search(lambda source, prefix: [math.nan] * 4, SOURCES, settings_for(retry=True))
