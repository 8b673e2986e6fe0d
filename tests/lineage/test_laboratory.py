"""The BLEU laboratory: published scores from the published outputs, and a page that is what its scores make of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from common.score.bleu import sacre_bleu
from common.score.laboratory import PROTOCOLS
from common.yaml_files import read_yaml
from papers.lineage.laboratory import RESULT
from papers.lineage.laboratory.__main__ import main
from papers.lineage.laboratory.measure import OURS, PUBLISHED, published
from papers.lineage.laboratory.page import PRINTED, write_page

SCORES = {
    "OpenNMT-py groundhog": 18.66,
    "OpenNMT-Lua groundhog": 19.70,
    "Neural Monkey groundhog": 13.73,
    "Sockeye groundhog": 23.02,
    "Marian groundhog": 23.54,
    "Nematus groundhog": 23.86,
    "OpenNMT-py RNN": 21.95,
    "Nematus RNN": 23.78,
    "Sockeye RNN": 25.55,
    "Marian RNN": 25.93,
    "fairseq CNN": 23.37,
    "Sockeye CNN": 24.59,
    "tensor2tensor Transformer": 26.34,
    "Marian Transformer": 27.40,
    "Sockeye Transformer": 27.50,
}
"""sacreBLEU, 13a, cased, of the published outputs, as the mirror's SOURCE.md states it from elsewhere."""


@pytest.mark.parametrize("system", SCORES)
def test_published_outputs_have_their_scores(system: str, mirror: Path) -> None:
    texts = published(mirror, system)
    found = sacre_bleu(texts.hypotheses, texts.references, "de", tokenize="13a")
    assert f"{found.value:.2f}" == f"{SCORES[system]:.2f}"


@pytest.mark.parametrize(("protocol", "expected"), [("intl", 27.77), ("13a-lc", 28.00)])
def test_other_protocols_of_the_best_output(protocol: str, expected: float, mirror: Path) -> None:
    found = PROTOCOLS[protocol].score(published(mirror, "Sockeye Transformer"))
    assert f"{found.value:.2f}" == f"{expected:.2f}"


def test_all_but_one_of_the_printed_scores_are_those_of_the_outputs() -> None:
    """Sockeye's GroundHog-sized model: its output is worth 23.02, and 23.18 is printed."""
    printed = read_yaml(PRINTED)["outputs"]["scores"]
    unlike = [s for s, text in printed.items() if f"{SCORES[s]:.{len(text.partition('.')[2])}f}" != text]
    assert unlike == ["Sockeye groundhog"] and {*printed} < {*PUBLISHED}


def test_the_page_is_what_the_scores_make_of_it(tmp_path: Path) -> None:
    copy = tmp_path / RESULT.name
    copy.write_bytes(RESULT.read_bytes())
    write_page(copy)
    kept = RESULT.with_suffix(".md").read_text(encoding="utf-8")
    assert copy.with_suffix(".md").read_text(encoding="utf-8") == kept, "run: python -m papers.lineage.laboratory page"
    assert {path.name for path in tmp_path.glob("*.png")} == {
        path.name for path in RESULT.parent.glob("laboratory*.png")
    }


def test_the_committed_scores_are_of_the_outputs_and_hold_no_text_of_them() -> None:
    record = json.loads(RESULT.read_text(encoding="utf-8"))
    assert [row["system"] for row in record["outputs"]] == [*PUBLISHED]
    for row in record["outputs"]:
        assert {*row} == {"system", "scores", "waterfall"} and [*row["scores"]] == [*PROTOCOLS]
        assert row["system"] not in SCORES or f"{row['scores']['13a']['score']:.2f}" == f"{SCORES[row['system']]:.2f}"


def test_what_the_page_says_in_words_holds() -> None:
    """Its sentences on quotes, years and sub-words, which are typed and not computed."""
    record = json.loads(RESULT.read_text(encoding="utf-8"))
    sets = {row["set"]: row for row in record["references"]}
    assert sets["newstest2017 DE"]["unicode_quotes"] == 0 < sets["newstest2014 DE"]["unicode_quotes"]
    for row in sets.values():
        by_13a, by_moses = (round(row["with_ascii_quotes"][key], 6) for key in ("13a", "moses-2016-split"))
        assert by_13a < by_moses < 100 if row["unicode_quotes"] else by_13a == by_moses == 100
    assert sets["newstest2013 DE"]["unicode_quotes"] == 0
    for name in ("newstest2014 DE", "newstest2014 FR"):
        lengths = sets[name]["lengths"]
        assert lengths["Moses of 2014"] == lengths["Moses of 2016"] < lengths["Moses of 2019"]
    values = record["ours"]["waterfall"]["settings"]
    assert values["tokenisation"] > values[""]


def test_neural_monkey_writes_unk_for_commas(mirror: Path) -> None:
    lines = published(mirror, "Neural Monkey groundhog").hypotheses
    assert sum(line.count("<unk>") for line in lines) > 3000 and not any(", " in line or '"' in line for line in lines)


def test_our_own_output_is_a_committed_result() -> None:
    assert OURS.is_file()


def test_without_the_texts_nothing_is_scored(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("PAPERS_MIRROR", raising=False)
    assert main(["measure"]) == 2
    assert "PAPERS_MIRROR names no folder" in capsys.readouterr().err
