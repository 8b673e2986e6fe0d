"""Scores of files: the papers' variants side by side, by hand on one German sentence pair."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.eval.files import score_files, tokenised_scores

HYPOTHESIS = "Die EU-Kommission sagt heute „ ja “ ."
REFERENCE = "Die EG-Kommission sagt heute „ ja “ ."


def test_compound_splitting_lets_half_a_compound_match():
    plain = tokenised_scores([HYPOTHESIS], [REFERENCE], "tokenised", False)
    assert list(plain) == ["tokenised"]
    both = tokenised_scores([HYPOTHESIS], [REFERENCE], "tokenised_compound", False)
    assert both["tokenised"].value == plain["tokenised"].value
    # Whole, 7 of 8 words match; split in three, 9 of 10 do.
    assert plain["tokenised"].statistics[0, [0, 4]].tolist() == [7, 8]
    assert both["tokenised_compound"].statistics[0, [0, 4]].tolist() == [9, 10]


def test_the_quote_change_touches_the_reference_alone():
    scores = tokenised_scores([REFERENCE], [REFERENCE], "tokenised_compound", False)
    assert scores["tokenised_compound"].value == pytest.approx(100)
    # Both curly quotes of the hypothesis now stand against &quot;.
    assert scores["tokenised_compound_quotes"].statistics[0, [0, 4]].tolist() == [8, 10]


def test_files_by_source_length(tmp_path: Path):
    texts = {"hypothesis": ["Ja .", "Wir lesen heute ein Buch ."], "reference": ["Ja .", "Wir lesen heute kein Buch ."]}
    texts["source"] = ["Yes .", " ".join(["word"] * 14)]
    for name, lines in texts.items():
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    paths = [tmp_path / name for name in ("hypothesis", "reference", "source")]
    scores = score_files(*paths, "de", "tokenised", lowercase=False, quotes_2014=False)
    assert set(scores) == {"tokenised", "sacrebleu", "by_length"}
    assert [(row["low"], row["high"], row["sentences"]) for row in scores["by_length"]] == [(1, 10, 1), (11, 20, 1)]
