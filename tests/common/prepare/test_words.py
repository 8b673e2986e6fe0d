"""The training words that ids hide are those of the corpus, in the order of the prepared pairs."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from common.errors import UserError
from common.prepare.words import training_words
from common.run.folder import prepare_data
from papers.bahdanau2014.paper import PAPER

LINES = [
    ("The R&D of ships.", "La R&D des navires."),
    ("", "Vide."),
    ("one two three four five six seven eight", "trop long pour rester"),
    ("The R&D of ships.", "La R&D des bateaux."),
    ("It's late", "Il est tard"),
    ("A last one.", "Un dernier."),
]


def corpus(folder: Path, lines: list[tuple[str, str]]) -> Path:
    folder.mkdir(exist_ok=True)
    for side, language in enumerate(("en", "fr")):
        (folder / f"train.{language}").write_text("".join(f"{pair[side]}\n" for pair in lines))
        (folder / f"valid.{language}").write_text("The ships.\n")
    files = {split: {language: f"{split}.{language}" for language in ("en", "fr")} for split in ("train", "valid")}
    (folder / "toy.yaml").write_text(yaml.safe_dump({"title": "toy", **files}))
    return folder / "toy.yaml"


def test_cleaned_pairs_and_hidden_words(tmp_path):
    words = [f"data.corpus={corpus(tmp_path / 'toy', LINES)}", "data.clean_tokens=7", "text.vocabulary_size=4"]
    recipe = PAPER.recipe("demo/rnnsearch-50", [*words, "data.first=5", "evaluate.sets=[valid]", "max_length=4"])
    prepared = prepare_data(recipe, tmp_path)
    found = list(training_words(prepared, recipe, tmp_path / "downloads", 100))
    assert [" ".join(target) for _, target in found] == [
        "La R &amp; D des navires .",
        "La R &amp; D des bateaux .",
        "Il est tard",
    ], "of any length; cleaning and data.first leave the others out"
    assert [" ".join(source) for source, _ in found][2] == "It &apos;s late"
    assert len(list(training_words(prepared, recipe, tmp_path / "downloads", 2))) == 2


def test_other_text_is_refused(tmp_path):
    path = corpus(tmp_path / "toy", LINES)
    recipe = PAPER.recipe("demo/rnnsearch-50", [f"data.corpus={path}", "evaluate.sets=[valid]"])
    prepared = prepare_data(recipe, tmp_path)
    corpus(tmp_path / "toy", LINES[:3])
    with pytest.raises(UserError, match="toy.yaml has other training text now; give back that text"):
        list(training_words(prepared, recipe, tmp_path / "downloads", 100))
