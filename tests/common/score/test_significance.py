"""Bootstrap intervals and paired tests, checked against slow loops and cases with a known answer."""

import numpy as np
import pytest
from sacrebleu.metrics.bleu import BLEU

from common.errors import UserError
from common.score import significance
from common.score.bleu import Statistics, bleu, sacre_bleu
from common.score.significance import bootstrap_interval, paired_bootstrap


def system(quality: float, sentences: int = 300, seed: int = 1) -> Statistics:
    """Statistics of invented sentences in which each n-gram matches with probability quality^n."""
    generator = np.random.default_rng(seed)
    length = np.random.default_rng(0).integers(4, 40, sentences)  # shared, like the references of one test set
    totals = length[:, None] - np.arange(4)
    matches = generator.binomial(totals, quality ** np.arange(1, 5))
    return np.concatenate([matches, totals, length[:, None], length[:, None]], axis=1)


def slow_samples(statistics: Statistics, samples: int, seed: int) -> list[float]:
    generator = np.random.default_rng(seed)
    sentences = len(statistics)
    return [bleu(statistics[generator.integers(0, sentences, sentences)]) for _ in range(samples)]


def test_interval_agrees_with_drawing_sentence_by_sentence() -> None:
    statistics = system(0.7)
    expected = np.quantile(slow_samples(statistics, 4000, seed=5), [0.025, 0.975])
    low, high = bootstrap_interval(statistics)
    # the two draw other sentences: allow the error that 1000 samples leave in a quantile
    assert (low, high) == pytest.approx(expected, abs=0.08 * (expected[1] - expected[0]))
    assert low < bleu(statistics) < high


def test_interval_of_sacrebleu_is_of_the_smoothed_score() -> None:
    """It equals that of sacreBLEU's own `--confidence`, while the unsmoothed score is 0 for every draw."""
    draw = np.random.default_rng(2)
    references = [" ".join(draw.choice(list("abcdefgh"), size=12)) for _ in range(60)]
    kept = [[i % 3 and draw.random() < 0.8 for i in range(12)] for _ in references]
    hypotheses = [
        " ".join(word if keep else "x" for word, keep in zip(line.split(), keeps, strict=True))
        for line, keeps in zip(references, kept, strict=True)
    ]
    score = sacre_bleu(hypotheses, references, "en")
    theirs = BLEU().corpus_score(hypotheses, [references], n_bootstrap=1000)
    low, high = bootstrap_interval(score.statistics, score.of_sums)
    assert bleu(score.statistics) == 0.0 and bootstrap_interval(score.statistics) == (0.0, 0.0)
    assert 0 < low < score.value < high
    assert (high - low) / 2 == pytest.approx(theirs._ci, rel=0.1)


def test_interval_repeats_and_halves_with_four_times_the_sentences() -> None:
    statistics = system(0.6)
    low, high = bootstrap_interval(statistics)
    assert bootstrap_interval(statistics) == (low, high)
    narrow = bootstrap_interval(np.tile(statistics, (4, 1)))
    assert narrow[1] - narrow[0] == pytest.approx((high - low) / 2, rel=0.15)


def test_interval_of_equal_sentences_is_a_point() -> None:
    statistics = np.repeat(system(0.9, sentences=1), 20, axis=0)
    assert bootstrap_interval(statistics) == pytest.approx((bleu(statistics), bleu(statistics)))


def test_paired_difference_of_unlike_systems() -> None:
    good, bad = system(0.75, seed=1), system(0.65, seed=2)
    forth, back = paired_bootstrap(good, bad), paired_bootstrap(bad, good)
    assert forth.value == pytest.approx(bleu(good) - bleu(bad))
    assert 0 < forth.low < forth.value < forth.high
    assert (forth.p, back.p) == (0.0, 1.0)
    assert (back.low, back.high) == pytest.approx((-forth.high, -forth.low))


def test_paired_difference_of_a_system_and_itself() -> None:
    same = paired_bootstrap(system(0.7), system(0.7))
    assert (same.value, same.low, same.high, same.p) == (0.0, 0.0, 0.0, 1.0)


def test_pairing_sees_what_independent_draws_cannot() -> None:
    """One more match in each sentence is small beside the variation between sentences, but it is always there."""
    worse = system(0.7)
    better = worse.copy()
    better[:, :4] = np.minimum(worse[:, :4] + 1, worse[:, 4:8])
    paired, alone = paired_bootstrap(better, worse), [bootstrap_interval(one) for one in (better, worse)]
    independent = np.hypot(*(high - low for low, high in alone))
    assert paired.low > 0 and paired.high - paired.low < 0.7 * independent


def test_p_is_calibrated_between_equals() -> None:
    """If two systems are equally good, one looks better with p <= 0.1 in about a tenth of the cases."""
    trials = 200
    small = [paired_bootstrap(system(0.7, 100, 2 * t), system(0.7, 100, 2 * t + 1)).p <= 0.1 for t in range(trials)]
    assert 0.03 < np.mean(small) < 0.18  # a tenth, +/- 3.5 standard errors


def test_other_references_are_refused() -> None:
    with pytest.raises(UserError, match="300 and 299 sentences"):
        paired_bootstrap(system(0.7), system(0.7)[:-1])
    with pytest.raises(UserError, match="different references"):
        paired_bootstrap(system(0.7), system(0.7)[::-1])


def test_empty_selection_is_refused() -> None:
    with pytest.raises(UserError, match="selection is empty"):
        bootstrap_interval(system(0.7)[:0])


def test_many_sentences_are_drawn_in_parts_and_give_the_same_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    statistics = system(0.7)
    whole = bootstrap_interval(statistics)
    monkeypatch.setattr(significance, "_TOGETHER", 7 * len(statistics) + 5)  # parts of 7, and 6 at the end
    assert [len(part) for part in significance._draws(np.random.default_rng(1), len(statistics))] == [7] * 142 + [6]
    assert bootstrap_interval(statistics) == whole
