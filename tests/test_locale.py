"""Programs write and read UTF-8 even if the locale is another one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from common.result import LongSentence
from papers.bahdanau2014.paper import PAPER
from tests import made_results as made
from tests.conftest import ROOT, TINY

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
LATIN = ASCII | {"PYTHONIOENCODING": "latin-1"}
each_locale = pytest.mark.parametrize("locale", [ASCII, LATIN], ids=["ascii", "latin-1"])
SENTENCE = "L’été « à Łódź » : 日本"


def write_results(folder: Path, overrides: Sequence[str] = ()) -> None:
    """Finished runs of all systems of the demo, with a sentence for Table 3 that neither locale can write."""
    for name in PAPER.systems("demo"):
        recipe = PAPER.recipe(name, overrides)
        columns = {"all": made.column(made.statistics([0.9, 0.5] * 20), [4, 9] * 20)}
        long = LongSentence(source=SENTENCE, reference=SENTENCE, hypothesis=SENTENCE)
        made.write(folder, recipe.system, made.result(recipe, {"made": made.scored(columns, long)}))
        made.write_training(folder / recipe.system, recipe)


@each_locale
def test_tables(locale, command, tmp_path):
    write_results(tmp_path)
    printed = command("papers.bahdanau2014", "tables", "--results", tmp_path, "--out", tmp_path, locale=locale).stdout
    assert SENTENCE in printed and printed == (tmp_path / "tables.md").read_text(encoding="utf-8")


def test_end_of_the_demo(command, tmp_path):
    write_results(tmp_path / "demo" / "bahdanau2014", TINY)
    command("papers", "demo", "bahdanau2014", "--runs", tmp_path, *TINY, locale=ASCII)
    assert SENTENCE in (tmp_path / "demo" / "report.html").read_text(encoding="utf-8")


def test_a_scored_run_as_json(command, tmp_path):
    words = ["demo/rnnsearch-50", *TINY, "--out", tmp_path / "run", "--runs", tmp_path]
    command("papers.bahdanau2014", "train", *words, locale=ASCII)
    words = ["score", tmp_path / "run", "--json", "--runs", tmp_path]
    printed = command("papers.bahdanau2014", *words, locale=ASCII).stdout
    assert not printed.isascii() and printed == (tmp_path / "run" / "result.json").read_text(encoding="utf-8")


@each_locale
def test_messages_name_files_that_the_locale_cannot_write(locale, command, tmp_path):
    """The name is in UTF-8 if Python has it as text, and escaped if it is bytes."""
    words = ["score", "--hypothesis", tmp_path / "été", "--reference", tmp_path / "été"]
    done = command("papers.bahdanau2014", *words, check=2, locale=locale)
    assert "No such file" in done.stderr and done.stderr.count("\n") == 1
    corpus = tmp_path / "corpus.yaml"
    corpus.write_text("title: t\ntrain: {en: été.en, fr: été.fr}\nvalid: {en: été.en, fr: été.fr}\n", encoding="utf-8")
    words = ["train", "demo/rnnsearch-50", *TINY, f"data.corpus={corpus}", "evaluate.sets=[valid]"]
    done = command("papers.bahdanau2014", *words, "--out", tmp_path / "run", "--runs", tmp_path, check=2, locale=locale)
    assert "PYTHONUTF8=1" in done.stderr and done.stderr.count("\n") == 1


def test_git_names_files_that_are_not_ascii(tmp_path):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e@example.org"]
    (tmp_path / "été").write_text("one\n", encoding="utf-8")
    for words in (["init", "-q"], ["config", "core.quotepath", "false"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *words], check=True)
    (tmp_path / "été").write_text("two\n", encoding="utf-8")
    program = f"import common.run.record as r, pathlib; print(r.commit(pathlib.Path({str(tmp_path)!r}))['dirty'])"
    command, environment = [sys.executable, "-c", program], {**os.environ, **ASCII}
    assert subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True).stdout == b"True\n"
