"""Selected text beside random text: the verdict on planted text, the numbers recomputed by hand, the sample of a large
corpus, and the page."""

from __future__ import annotations

import dataclasses
import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import kenlm
import numpy as np
import pytest
import yaml

from common.errors import UserError
from common.prepare import selection_check
from common.prepare.language_model import estimate
from common.prepare.manifest import NAME, Manifest, Modelled, SelectionCheck
from common.prepare.preparation import prepare
from common.prepare.prepared import Prepared
from common.prepare.summary import selection_page
from common.recipe import Data, Text

WORDS = Text(tokeniser="none", lowercase=False, segmentation="words", bpe_merges=None, vocabulary_size=500)
Pairs = list[tuple[str, str]]


class Language:
    """Sentences of a Markov chain over 150 words, in which few words follow a word. Each word has one translation."""

    def __init__(self, seed: int) -> None:
        self.generator = np.random.default_rng(seed)
        self.following = self.generator.dirichlet(np.full(150, 0.03), size=150).cumsum(axis=1)

    def pairs(self, count: int) -> Pairs:
        """Draw sentences of 5 to 14 words."""
        return [self._pair(int(self.generator.integers(5, 15))) for _ in range(count)]

    def _pair(self, length: int) -> tuple[str, str]:
        words = [int(self.generator.integers(150))]
        for place in self.generator.random(length - 1):
            words.append(min(149, int(np.searchsorted(self.following[words[-1]], place))))
        return " ".join(f"e{word}" for word in words), " ".join(f"f{word}" for word in words)


def corpus(folder: Path, **texts: Pairs) -> Data:
    """Write `news` (in-domain), `general` and the development sets `valid_1` and `valid_2`, and select 40%."""
    for name, pairs in texts.items():
        for language, lines in zip(("en", "fr"), zip(*pairs, strict=True), strict=True):
            (folder / f"{name}.{language}").write_text("".join(f"{line}\n" for line in lines))
    place = {name: {language: f"{name}.{language}" for language in ("en", "fr")} for name in texts}
    kinds = ("train", "sets")
    declared = {kind: {n: [p] for n, p in place.items() if n.startswith("valid") == (kind == "sets")} for kind in kinds}
    (folder / "toy.yaml").write_text(yaml.safe_dump({"title": "a toy"} | declared, sort_keys=False))
    return Data(
        corpus=str(folder / "toy.yaml"),
        source="en",
        target="fr",
        parts=("news", "general"),
        shares=(1.0, 0.4),
        in_domain=("news",),
        valid=("valid_1", "valid_2"),
    )


def made(folder: Path, planted: bool) -> Data:
    """Return text whose general part is of two languages in turn, 30% of it the in-domain one, or of one language."""
    folder.mkdir()
    ours, other = Language(1), Language(2)
    general = [pair for _ in range(60) for pair in [*ours.pairs(15), *(other if planted else ours).pairs(35)]]
    return corpus(
        folder,
        news=ours.pairs(800),
        general=general,
        valid_1=ours.pairs(300),
        valid_2=ours.pairs(200) + [("", "f1 f2")],
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, lmplz: None) -> Callable[[bool], Data]:
    """Text with in-domain pairs hidden among others, or without a difference."""
    folder = tmp_path_factory.mktemp("text")
    kinds = {planted: made(folder / str(planted), planted) for planted in (True, False)}
    return kinds.__getitem__


@pytest.fixture(scope="module")
def planted(data: Callable[[bool], Data], tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return run(data(True), tmp_path_factory.mktemp("planted"))


def run(data: Data, folder: Path, workers: int = 2) -> Prepared:
    return prepare(data, WORDS, folder / "data", folder / "downloads", workers=workers)


def check_of(prepared: Prepared) -> SelectionCheck:
    assert prepared.manifest.selection is not None
    return prepared.manifest.selection


def lines(data: Data, name: str, language: str) -> list[str]:
    return (Path(data.corpus).parent / f"{name}.{language}").read_text().split("\n")[:-1]


def test_selection_beats_random_text_where_in_domain_text_is_hidden(planted: Prepared) -> None:
    check = check_of(planted)
    assert check.verdict == "holds"
    for sides in check.sets.values():
        for side in sides.values():
            draws = [side.perplexity[f"random {number}"] for number in (1, 2, 3)]
            assert (
                side.perplexity["selected"] < 0.9 * min(draws) and 0 < side.interval[0] < side.gain < side.interval[1]
            )
            # The gain in bits is the distance of the perplexities' logarithms.
            expected = np.mean(np.log2(draws)) - math.log2(side.perplexity["selected"])
            assert side.gain == pytest.approx(expected, abs=1e-3)


def test_selection_beats_nothing_where_all_text_is_of_one_kind(data: Callable[[bool], Data], tmp_path: Path) -> None:
    """What it prefers there is chance, which costs variety if anything."""
    check = check_of(run(data(False), tmp_path))
    assert check.verdict != "holds"
    assert all(side.gain < 0.05 for sides in check.sets.values() for side in sides.values())


def test_random_texts_have_the_selections_words(planted: Prepared) -> None:
    check = check_of(planted)
    assert check.whole.pairs == 3000 and check.selected.pairs == 1200
    assert list(check.texts) == ["whole", "selected", "random 1", "random 2", "random 3"]
    assert check.texts["whole"] == check.whole and check.texts["selected"] == check.selected
    for number in (1, 2, 3):
        text = check.texts[f"random {number}"]
        assert 0 <= check.selected.words["target"] - text.words["target"] < 15
        assert text != check.texts["random 1"] or number == 1


@pytest.mark.parametrize(("side", "language"), [("source", "en"), ("target", "fr")])
def test_numbers_recomputed(
    planted: Prepared, data: Callable[[bool], Data], tmp_path: Path, side: str, language: str
) -> None:
    """Perplexity word by word from a model made here; what is selected, from the selection's own files."""
    check, text = check_of(planted), data(True)
    general, valid = lines(text, "general", language), lines(text, "valid_2", language)
    kept = np.load(planted.directory / "selection.general.kept.npy")
    counts = Counter(word for line in general for word in line.split())
    vocabulary = {word.encode() for word, count in counts.items() if count > 1}
    for name, chosen in (
        ("whole", general),
        ("selected", [line for line, keep in zip(general, kept, strict=True) if keep]),
    ):
        estimate((line.encode() for line in chosen), vocabulary, tmp_path / name, name)
        model = kenlm.Model(str(tmp_path / name))
        logs = [log10 for line in valid for log10, _, _ in model.full_scores(line)]
        words = [word for line in valid for word in line.split()]
        of_side = check.sets["valid_2"][side]
        assert len(logs) == len(words) + 201 and of_side.words == len(words)
        assert of_side.perplexity[name] == pytest.approx(10 ** (-sum(logs) / len(logs)), abs=0.006)
        seen = {word for line in chosen for word in line.split()}
        assert of_side.unseen[name] == pytest.approx(sum(word not in seen for word in words) / len(words), abs=1e-6)


def test_the_number_of_processes_changes_nothing(
    planted: Prepared, data: Callable[[bool], Data], tmp_path: Path
) -> None:
    assert check_of(run(data(True), tmp_path, workers=1)) == check_of(planted)


def test_of_a_large_corpus_a_sample(
    planted: Prepared, data: Callable[[bool], Data], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = check_of(planted)
    monkeypatch.setattr(selection_check, "LIMIT", whole.whole.words["target"] // 2)
    check = check_of(run(data(True), tmp_path))
    assert (check.whole, check.selected, check.best, check.worst) == (
        whole.whole, whole.selected, whole.best, whole.worst
    )  # fmt: skip
    assert check.texts["whole"].pairs == pytest.approx(1500, abs=120)
    assert check.texts["selected"].pairs == pytest.approx(600, abs=80)
    assert check.verdict == "holds" and "samples" in selection_page(check, "en", "fr")


def test_examples_are_the_extremes_of_medium_length(planted: Prepared, data: Callable[[bool], Data]) -> None:
    check = check_of(planted)
    scores = np.load(planted.directory / "selection.general.scores.npy")
    pairs = list(zip(lines(data(True), "general", "en"), lines(data(True), "general", "fr"), strict=True))
    medium = sorted((score, pair) for score, pair in zip(scores, pairs, strict=True) if 8 <= len(pair[1].split()) <= 30)
    assert [(one.source, one.target) for one in check.best] == [pair for _, pair in medium[:3]]
    assert [(one.source, one.target) for one in check.worst] == [pair for _, pair in medium[:-4:-1]]
    assert check.best[0].score == pytest.approx(medium[0][0], abs=1e-4)


def test_the_summary_shows_the_check(planted: Prepared) -> None:
    text, check = (planted.directory / "summary.md").read_text(), check_of(planted)
    assert "## Data selection" in text and "**holds**" in text
    assert f"{check.selected.words['target']:,} of {check.whole.words['target']:,} fr words" in text
    for shown in (check.best[0].source, check.worst[-1].target, f"{check.sets['valid_1']['source'].gain:+.3f} ("):
        assert shown in text
    assert "check selection" in text  # the time that it took


def test_a_manifest_without_a_check_is_read(planted: Prepared, tmp_path: Path) -> None:
    """Older programs wrote none, and without selection there is none."""
    values = json.loads((planted.directory / NAME).read_text())
    assert json.loads(json.dumps(Manifest.read(planted.directory).to_dict())) == values
    del values["selection"]
    (tmp_path / NAME).write_text(json.dumps(values))
    manifest = Manifest.read(tmp_path)
    assert manifest.selection is None and json.loads(json.dumps(manifest.to_dict())) == values
    (tmp_path / NAME).write_text(json.dumps(values | {"selection": {"whole": 1}}))
    with pytest.raises(UserError, match="manifest.json: missing key `selection.selected`"):
        Manifest.read(tmp_path)


@pytest.mark.parametrize(
    ("intervals", "verdict"),
    [
        ([(0.1, 0.3), (0.01, 0.2)], "holds"),
        ([(0.1, 0.3), (-0.01, 0.2)], "undecided"),
        ([(0.1, 0.3), (-0.2, -0.01)], "fails"),
        ([(0.0, 0.3), (0.1, 0.2)], "undecided"),
    ],
)
def test_every_interval_decides(planted: Prepared, intervals: list[tuple[float, float]], verdict: str) -> None:
    sides = [Modelled(words=1, perplexity={}, unseen={}, gain=0.1, interval=interval) for interval in intervals]
    sets = {"valid": dict(zip(("source", "target"), sides, strict=True))}
    assert dataclasses.replace(check_of(planted), sets=sets).verdict == verdict


def test_nothing_selected_is_nothing_checked(data: Callable[[bool], Data], tmp_path: Path) -> None:
    """The parts kept whole fill the limit of words, so no pair of the other is selected."""
    prepared = run(dataclasses.replace(data(True), select_words=100), tmp_path)
    assert prepared.manifest.selection is None
    assert "Data selection" not in (prepared.directory / "summary.md").read_text()
