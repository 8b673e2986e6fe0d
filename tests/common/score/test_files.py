"""Scores of files: the papers' variants, computed by hand on one German sentence pair, and the notes on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from common.score.files import notes, score_files, tokenised_scores
from papers.bahdanau2014.paper import PAPER as BAHDANAU
from papers.vaswani2017.paper import PAPER as VASWANI

HYPOTHESIS = "Die EU-Kommission sagt heute „ ja “ ."
REFERENCE = "Die EG-Kommission sagt heute „ ja “ ."
TOKENS = "case:mixed|tok:none"


def files(folder: Path, **texts: list[str]) -> list[Path]:
    for name, lines in texts.items():
        (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return [folder / name for name in texts]


def test_compound_splitting_lets_half_a_compound_match():
    plain = tokenised_scores([HYPOTHESIS], [REFERENCE], "tokenised", tokenization=TOKENS)
    assert list(plain) == ["tokenised"]
    both = tokenised_scores([HYPOTHESIS], [REFERENCE], "tokenised_compound", tokenization=TOKENS)
    assert both["tokenised"].value == plain["tokenised"].value
    # Whole, 7 of 8 words match; split in three, 9 of 10 do.
    assert plain["tokenised"].statistics[0, [0, 4]].tolist() == [7, 8]
    assert both["tokenised_compound"].statistics[0, [0, 4]].tolist() == [9, 10]


def test_the_quote_change_touches_the_reference_alone():
    scores = tokenised_scores([REFERENCE], [REFERENCE], "tokenised_compound", tokenization=TOKENS)
    assert scores["tokenised_compound"].value == pytest.approx(100)
    # Both curly quotes of the hypothesis now stand against &quot;.
    assert scores["tokenised_compound_quotes"].statistics[0, [0, 4]].tolist() == [8, 10]


def test_files_by_source_length(tmp_path: Path):
    both = ["Ja .", "Wir lesen heute ein Buch ."], ["Ja .", "Wir lesen heute kein Buch ."]
    paths = files(tmp_path, hypothesis=both[0], reference=both[1], source=["Yes .", " ".join(["word"] * 14)])
    scores = score_files(*paths, BAHDANAU.recipe("rnnsearch-50"), "de")
    assert {name for name, value in scores.items() if isinstance(value, dict)} == {"tokenised", "sacrebleu"}
    rows = [(row["score"], row["low"], row["high"], row["sentences"]) for row in scores["by_length"]]
    assert rows == [("tokenised", 1, 10, 1), ("tokenised", 11, 20, 1)]


def test_each_way_to_another_number_has_another_signature(tmp_path: Path):
    """The language, the paper's year and lower-casing change the tokens, and therefore the score."""
    hypothesis = ["L'homme dit ``oui'' en 1999,", "Der Film von Mr. B läuft am 3. Mai."]
    reference = ["L'homme a dit ''oui'' en 1999 ,", "der Film des Mr. B läuft am 3 . Mai."]
    paths = files(tmp_path, hypothesis=hypothesis, reference=reference)
    ways: dict[str, tuple[Any, ...]] = {
        "case:mixed|tok:moses-2014-fr-escaped": (BAHDANAU.recipe("rnnsearch-50"),),
        "case:mixed|tok:moses-2016-fr-escaped": (VASWANI.recipe("base"), "fr"),
        "case:mixed|tok:moses-2016-de-escaped": (VASWANI.recipe("base"),),
        "case:lc-before-tok|tok:moses-2016-de-escaped": (VASWANI.recipe("base"), None, True),
    }
    scores = {expected: score_files(*paths, None, *way) for expected, way in ways.items()}
    assert len({score["tokenised"]["bleu"] for score in scores.values()}) == len(ways)
    for expected, score in scores.items():
        assert score["tokeniser"] == expected and f"|{expected}|split:no|" in score["tokenised"]["signature"]
    assert [(score["recipe"], score["language"]) for score in scores.values()] == [
        ("wmt14/rnnsearch-50", "fr"),
        ("wmt14/base", "fr"),
        ("wmt14/base", "de"),
        ("wmt14/base", "de"),
    ]


def test_every_interval_holds_the_score_beside_it(tmp_path: Path):
    """No four words in a row match: the papers' BLEU is 0. sacreBLEU's smoothed BLEU and its interval are not."""
    hypothesis = ["Wir lesen nun ein Buch .", "Er kam gestern an .", "Das ist sehr gut so ."]
    reference = ["Wir lesen heute ein Buch .", "Sie kam gestern nicht an .", "Das war alles gut so ."]
    paths = files(tmp_path, hypothesis=hypothesis, reference=reference)
    scores = score_files(*paths, None, VASWANI.recipe("base"))
    assert scores["tokenised"]["bleu"] == 0.0 < scores["sacrebleu"]["bleu"]
    for score in (scores["tokenised"], scores["sacrebleu"]):
        assert score["low"] <= score["bleu"] <= score["high"]


CHINESE = ["今天天气非常好。", "我喜欢在公园里散步,因为那里很安静。"]


def test_chinese_is_split_by_sacrebleu_and_the_rest_is_said(tmp_path: Path):
    paths = files(tmp_path, hypothesis=CHINESE, reference=["今天天气很好。", CHINESE[1]])
    scores = score_files(*paths, None, BAHDANAU.recipe("rnnsearch-50"), "zh-CN")
    assert 80 < scores["sacrebleu"]["bleu"] < 100 and "|tok:zh|" in scores["sacrebleu"]["signature"]
    # To Moses a clause is a word: five of six are right, three of four pairs, all longer ones.
    assert scores["tokenised"]["bleu"] == pytest.approx(100 * (5 / 6 * 3 / 4) ** 0.25)
    assert [note.partition(",")[0] for note in scores["notes"]] == ["Moses does not split this text into words"]


@pytest.mark.parametrize(
    ("language", "line", "tokens", "tokeniser", "expected"),
    [
        ("fr", "Il dort.", "Il dort .", "13a", []),
        ("pt-BR", "Ele dorme.", "Ele dorme .", "13a", []),
        ("tr", "O uyuyor.", "O uyuyor .", "13a", ["Moses knows"]),
        ("zh", CHINESE[1], "我 喜欢 在 公园 里 散步 ,", "zh", []),
        ("zh", "我 喜欢 在 公园 里 散步", "我 喜欢 在 公园 里 散步", "13a", []),
        ("de", CHINESE[1], CHINESE[1], "13a", ["Moses does not split", "sacreBLEU's 13a takes whole"]),
        ("th", "วันนี้อากาศดีมาก", "วันนี้อากาศดีมาก", "13a", ["Moses knows", "Moses does not", "sacreBLEU's 13a"]),
        ("en", "She said 今天天气非常好 to him yesterday.", "She said 今天天气非常好 to him yesterday .", "13a", []),
    ],
)
def test_notes(language: str, line: str, tokens: str, tokeniser: str, expected: list[str]):
    found = notes(language, [line], [tokens], f"BLEU|tok:{tokeniser}|")
    assert len(found) == len(expected) and all(map(str.startswith, found, expected)), found


@pytest.mark.parametrize("language", ["zh", "ja", "th"])
def test_the_note_on_13a_fits_the_language(language: str):
    """Where sacreBLEU has a tokeniser that was not used, the note says where it is; else it has none."""
    (*_, note) = notes(language, [CHINESE[1]], [CHINESE[1]], "BLEU|tok:13a|")
    assert (f"the language is `{language}`" in note) == (language == "th") != ("score --hypothesis" in note)


def test_files_that_are_tokenised_already_are_compared_word_by_word(tmp_path: Path):
    for name, end in (("hypothesis", "."), ("reference", "!")):
        (tmp_path / name).write_text(f"Es ist AT&amp;T &apos;s Haus {end}\n", encoding="utf-8")
    paths = tmp_path / "hypothesis", tmp_path / "reference", None
    scores = score_files(*paths, VASWANI.recipe("base", ["text.tokeniser=none", "evaluate.metric=tokenised"]))
    assert scores["tokeniser"] == "case:mixed|tok:none"
    # Five of six words, then 4 of 5, 3 of 4, 2 of 3: were they escaped again, there would be 10 words.
    assert scores["tokenised"]["bleu"] == pytest.approx(100 * (5 / 6 * 4 / 5 * 3 / 4 * 2 / 3) ** 0.25)


def test_files_that_look_tokenised_are_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "hypothesis").write_text("Wir lesen .\nEin Buch .\n", encoding="utf-8")
    (tmp_path / "reference").write_text("Wir lesen.\nEin Buch.\n", encoding="utf-8")
    score_files(tmp_path / "hypothesis", tmp_path / "reference", None, VASWANI.recipe("base"))
    (warning,) = capsys.readouterr().err.splitlines()
    assert warning.startswith(f"warning: {tmp_path / 'hypothesis'}, line 1: `Wir lesen .` looks tokenised")
    assert "text.tokeniser=none" in warning
