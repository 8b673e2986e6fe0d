"""Data selection: models are distributions, scores are KenLM's, in-domain text is found where it is hidden."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import kenlm
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.corpus.lines import read_lines
from common.errors import UserError
from common.prepare.cross_entropy import Scorer, keep_share, keep_words, train_models
from common.prepare.language_model import INSTALL
from common.text.moses import Tokeniser

MODELS = ["general.source.trie", "general.target.trie", "in_domain.source.trie", "in_domain.target.trie"]
Text = tuple[list[str], list[str]]


@dataclass
class Mixture:
    """Text of two kinds from debdoc: one is the seed's, and hidden in a mixture of both."""

    seed: Text
    """2,000 pairs of one kind."""
    mixed: Text
    """900 pairs of that kind, 2,100 of the other."""
    inside: np.ndarray
    """Of each pair of the mixture whether it is of the seed's kind."""
    models: Path


@pytest.fixture(scope="module")
def debdoc(mirror: Path) -> Text:
    """Both sides of debdoc's training text, in document order."""
    return read_lines(mirror / "debdoc/train.en-fr.en.xz"), read_lines(mirror / "debdoc/train.en-fr.fr.xz")


@pytest.fixture(scope="module", params=["manual pages", "interface strings"])
def mixture(
    request: pytest.FixtureRequest, debdoc: Text, lmplz: None, tmp_path_factory: pytest.TempPathFactory
) -> Mixture:
    """Pairs of the named kind hidden among pairs of the other.

    The last 18,000 lines are the manual pages of manpages-l10n, those from 490,000 to 680,000 messages of programs; of
    these, a message of up to eight words without a stop at its end is an interface string (others are help texts).
    Seed, mixture and the general sample take turns at runs of 60 lines, which are a page or so; the sample is composed
    as the mixture is but has none of its lines, since a model gives its own training text away.
    """
    english = debdoc[0]
    manual = list(range(len(english) - 18_000, len(english)))
    strings = [n for n in range(490_000, 680_000) if len(english[n].split()) <= 8 and english[n][-1] not in ".!?:;,"]
    kind, other = (manual, strings) if request.param == "manual pages" else (strings, manual)
    tokenisers = Tokeniser("en", False, "moses-2016"), Tokeniser("fr", False, "moses-2016")

    def draw(run: list[int], turn: int, count: int) -> list[int]:
        rows = [row for start in range(60 * turn, len(run), 180) for row in run[start : start + 60]]
        return rows[:: len(rows) // count][:count]

    def text(rows: list[int]) -> Text:
        one, two = ([t.tokenise(side[row]) for row in rows] for t, side in zip(tokenisers, debdoc, strict=True))
        return one, two

    seed, mixed, general = draw(kind, 0, 2000), draw(kind, 1, 900), draw(kind, 2, 600)
    mixed, general = mixed + draw(other, 1, 2100), general + draw(other, 2, 1400)
    assert len({*seed, *mixed, *general}) == 2000 + 3000 + 2000
    made = Mixture(text(seed), text(mixed), np.arange(3000) < 900, tmp_path_factory.mktemp("models"))
    train_models(made.seed, text(general), made.models)
    return made


def test_selection_finds_in_domain_text_in_a_mixture(mixture: Mixture) -> None:
    """Kept at random, 30% of the pairs would be in-domain."""
    [kept] = keep_share([Scorer(mixture.models).scores(*mixture.mixed)], 0.3)
    assert kept.sum() == 900
    found = mixture.inside[kept].mean()
    print(f"{found:.4f} of the kept pairs are in-domain")
    assert found >= 0.85


def test_scores_are_the_librarys_own(mixture: Mixture) -> None:
    """Recomputed from KenLM's scores: of whole lines, and word by word with the unknown words replaced by hand."""
    expected = np.zeros(len(mixture.inside))
    for side, language in enumerate(("source", "target")):
        counts = Counter(word for line in mixture.seed[side] for word in line.split())
        for sign, domain in ((1, "in_domain"), (-1, "general")):
            model = kenlm.Model(str(mixture.models / f"{domain}.{language}.trie"))
            for row, line in enumerate(mixture.mixed[side]):
                words = [word if counts[word] > 1 else "<unk>" for word in line.split()]
                steps = [log10 for log10, _, _ in model.full_scores(" ".join(words))]
                assert len(steps) == len(words) + 1
                assert sum(steps) == pytest.approx(model.score(line), rel=1e-6, abs=1e-5)
                expected[row] += sign * -sum(steps) / math.log10(2) / len(steps)
    np.testing.assert_allclose(Scorer(mixture.models).scores(*mixture.mixed), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_each_model_is_a_distribution_over_the_in_domain_vocabulary(mixture: Mixture, name: str) -> None:
    """Words that the general text lacks included: what it never saw is no reason to call an in-domain word unknown.

    After a context that unknown words followed, <unk> lacks the second share of the uniform distribution that its
    unigram has.
    """
    text = mixture.seed["target" in name]
    counts = Counter(word for line in text for word in line.split())
    words = {word for word, count in counts.items() if count > 1}
    model = kenlm.Model(str(mixture.models / name))
    assert model.order == 4
    assert {word for word in counts if word in model} == words
    contexts = [[], *(line.split()[: 1 + number % 5] for number, line in enumerate(text[:8]))]
    for context in contexts:
        state, after = kenlm.State(), kenlm.State()
        model.NullContextWrite(state) if not context else model.BeginSentenceWrite(state)
        for word in context:
            model.BaseScore(state, word, after)
            state, after = after, state
        total = sum(10 ** model.BaseScore(state, word, after) for word in [*words, "<unk>", "</s>"])
        assert total == pytest.approx(1, abs=5e-4 if context else 1e-5), context


def test_probabilities_of_a_text_that_can_be_counted_by_hand(tmp_path: Path, lmplz: None) -> None:
    """Interpolated modified Kneser-Ney of `a a`, its discounts lmplz's fixed 0.5, 1 and 1.5.

    `a` follows two different words and `</s>` one, so a unigram's probability is (2 - 1) / 3 or (1 - 0.5) / 3 plus its
    quarter of the (1 + 0.5) / 3 that was taken off; <unk> has its own quarter and that of the words it stands for.
    """
    train_models((["a a"], ["a a"]), (["b"], ["a"]), tmp_path)
    model = kenlm.Model(str(tmp_path / "in_domain.source.trie"))
    unigrams = {word: 10 ** model.score(word, bos=False, eos=False) for word in ("a", "</s>", "zebra")}
    assert unigrams == pytest.approx({"a": 1 / 3 + 1 / 8, "</s>": 1 / 6 + 1 / 8, "zebra": 1 / 4}, abs=1e-6)
    # After <s> came one `a`: (1 - 0.5) / 1, and half of the unigram.
    assert 10 ** model.score("a", eos=False) == pytest.approx(1 / 2 + unigrams["a"] / 2, abs=1e-6)
    # The general text was `b`, outside the vocabulary: <unk> once, </s> once, and `a` only by the uniform distribution.
    general = kenlm.Model(str(tmp_path / "general.source.trie"))
    unigrams = {word: 10 ** general.score(word, bos=False, eos=False) for word in ("a", "</s>", "b")}
    assert unigrams == pytest.approx({"a": 1 / 8, "</s>": 1 / 4 + 1 / 8, "b": 1 / 4 + 2 / 8}, abs=1e-6)


IN_DOMAIN = (["the cat sat", "the cat ran", "the dog sat"], ["le chat dort", "le chat court", "le chien dort"])
GENERAL = (["press the key", "no such file", "the file"], ["touche", "aucun fichier", "le fichier"])


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, lmplz: None) -> Path:
    """Models of three lines a side."""
    folder = tmp_path_factory.mktemp("small") / "models"
    train_models(IN_DOMAIN, GENERAL, folder)
    return folder


def test_models_are_made_once_whole_and_the_same_every_time(small: Path, tmp_path: Path) -> None:
    def unread() -> Iterator[str]:
        raise AssertionError("read although the models are there")
        yield

    assert sorted(path.name for path in small.iterdir()) == MODELS
    train_models((unread(), unread()), (unread(), unread()), small)
    # A process killed while it estimated left its temporary files; one killed between two models left the first.
    (tmp_path / ".general.source.trie.making").mkdir()
    (tmp_path / ".general.source.trie.making/text").write_text("half a li")
    (tmp_path / "in_domain.source.trie").write_bytes((small / "in_domain.source.trie").read_bytes())
    sides = [[iter(side) for side in text] for text in (IN_DOMAIN, GENERAL)]
    train_models(tuple(sides[0]), tuple(sides[1]), tmp_path)  # type: ignore[arg-type]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        name: (small / name).read_bytes() for name in MODELS
    }


@given(st.lists(st.tuples(st.text(max_size=40), st.text(max_size=40)), max_size=5))
def test_every_line_has_a_finite_score(small: Path, pairs: list[tuple[str, str]]) -> None:
    odd = [("", ""), ("<s> </s> <unk>", "\x00"), (" \t\r\u2028 ", "the " * 3000), ("\x1a", "\ufeff")]
    source, target = zip(*odd, *pairs, strict=True)
    scores = Scorer(small).scores(source, target)
    assert scores.shape == (len(source),) and np.isfinite(scores).all()


def test_words_with_a_meaning_of_their_own_count_as_unknown(tmp_path: Path, lmplz: None) -> None:
    """As often as they come, they are what as many words seen once would be."""
    special = ["<s>", "</s>", "<unk>", "\x1a", "a\x00b"] * 3
    for name, words in (("special", special), ("rare", [f"rare{number}" for number in range(len(special))])):
        text = [*["the cat sat"] * 2, *(f"the {word} sat" for word in words)]
        train_models((text, text), (text, text), tmp_path / name)
    for name in MODELS:
        assert (tmp_path / "special" / name).read_bytes() == (tmp_path / "rare" / name).read_bytes()


@pytest.mark.parametrize(
    ("in_domain", "general", "says"),
    [
        (([], []), GENERAL, "in-domain source text"),
        ((IN_DOMAIN[0], ["un deux", "trois"]), GENERAL, "in-domain target text has no word that occurs twice"),
        (IN_DOMAIN, ([], GENERAL[1]), "general source text has no lines"),
    ],
)
def test_text_without_content_is_one_line(
    tmp_path: Path, lmplz: None, in_domain: Text, general: Text, says: str
) -> None:
    with pytest.raises(UserError, match=says) as caught:
        train_models(in_domain, general, tmp_path)
    assert "\n" not in str(caught.value)
    assert not [path for path in tmp_path.iterdir() if path.name not in MODELS]


def test_a_damaged_or_missing_model_is_one_line(small: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="in_domain.source.trie: .*run again"):
        Scorer(tmp_path)
    for name in MODELS:
        (tmp_path / name).write_bytes(
            (small / name).read_bytes()[:-40] if "general.t" in name else (small / name).read_bytes()
        )
    with pytest.raises(UserError, match="general.target.trie: .*delete it") as caught:
        Scorer(tmp_path)
    assert "\n" not in str(caught.value)


def test_without_tools_the_command_that_installs_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "bin").mkdir()
    with pytest.raises(UserError, match=r"cannot be compiled \(.*cmake.*\); run") as caught:
        train_models(IN_DOMAIN, GENERAL, tmp_path / "models")
    assert INSTALL in str(caught.value) and "\n" not in str(caught.value)


SHARDS = st.lists(
    st.lists(
        st.tuples(st.sampled_from([-1.5, -0.25, 0.0, 0.5, 3.0]) | st.floats(-9, 9), st.integers(0, 60)), max_size=12
    ),
    min_size=1,
    max_size=5,
)
Shards = list[list[tuple[float, int]]]


def ranking(shards: Shards) -> list[tuple[float, int, int, int]]:
    """Score, shard, row and words of all pairs, best first."""
    return sorted((s, a, b, w) for a, shard in enumerate(shards) for b, (s, w) in enumerate(shard))


def arrays(shards: Shards) -> tuple[list[np.ndarray], list[np.ndarray]]:
    return [np.array([s for s, _ in x], np.float64) for x in shards], [
        np.array([w for _, w in x], np.int64) for x in shards
    ]


def chosen(masks: list[np.ndarray], shards: Shards) -> set[tuple[int, int]]:
    assert [mask.shape for mask in masks] == [(len(shard),) for shard in shards]
    assert all(mask.dtype == np.bool_ for mask in masks)
    return {(number, row) for number, mask in enumerate(masks) for row in np.flatnonzero(mask)}


@given(SHARDS, st.floats(0, 1))
def test_keep_share_takes_exactly_the_best(shards: Shards, share: float) -> None:
    ranked = ranking(shards)
    expected = {(shard, row) for _, shard, row, _ in ranked[: round(share * len(ranked))]}
    assert chosen(keep_share(arrays(shards)[0], share), shards) == expected


@given(SHARDS, st.integers(0, 700))
def test_keep_words_takes_the_best_within_the_limit(shards: Shards, limit: int) -> None:
    expected, total = set(), 0
    for _, shard, row, words in ranking(shards):
        total += words
        if total > limit:
            break
        expected.add((shard, row))
    assert chosen(keep_words(*arrays(shards), limit), shards) == expected
