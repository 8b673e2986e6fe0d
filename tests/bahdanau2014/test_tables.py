"""Tables, figures and claims of Bahdanau et al. 2014, from no results and from invented ones."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from common.report.results import Result
from common.result import Example, LongSentence
from common.score.bleu import bleu
from common.score.significance import bootstrap_interval
from papers.bahdanau2014 import figures, tables
from papers.bahdanau2014.paper import PAPER
from tests import made_results as made

REPORTED = yaml.safe_load((PAPER.root / "reported.yaml").read_text(encoding="utf-8"))["tables"]
SYSTEMS = ["rnnencdec-30", "rnnsearch-30", "rnnencdec-50", "rnnsearch-50", "rnnsearch-50-star"]
QUALITY = dict(zip(SYSTEMS, (0.5, 0.7, 0.6, 0.9, 0.95), strict=True))
LENGTHS = [4, 5, 6, 14, 15, 16] * 12
OURS = ["All: ours (95%)", "No UNK: ours (95%)", "difference", "difference 2", "the run behind it"]
ALIGNMENT = [
    Example(
        line="a b",
        source=("$a^$_$", "b", "</s>"),
        target=("x", "</s>"),
        attention={"source": [[0.9, 0.1, 0.0], [0.0, 0.2, 0.8]]},
    )
]


def values(system: str, **changed):
    """RNNencdec falls with length, RNNsearch does not; the two columns score 60.06 and 70.07 and up."""
    index, falls = SYSTEMS.index(system), 0.25 if "encdec" in system else 0.0
    quality = [QUALITY[system] - falls * (length > 10) + 0.02 * (k % 3 - 1) for k, length in enumerate(LENGTHS)]
    counts = made.statistics(quality)
    columns = {
        "all": made.column(counts, LENGTHS, 60.06 + index),
        "no_unk": made.column(counts[:24], LENGTHS[:24], 70.07 + index),
    }
    return made.result(PAPER.recipe(system), columns, **changed)


@pytest.fixture
def folder(tmp_path) -> Path:
    """All five systems; RNNsearch-50* is unfinished."""
    for system in SYSTEMS:
        changed = {"step": 4321} if system.endswith("star") else {}
        made.write(tmp_path / "results", system, values(system, **changed), ALIGNMENT if "search" in system else [])
    return tmp_path / "results"


def build(results: Path, out: Path, scale: str = "wmt14"):
    return tables.build_tables(PAPER, scale, results, out)


def test_without_results_the_papers_numbers_stand_there(tmp_path):
    section = build(tmp_path / "nothing", tmp_path)
    rows = made.cells(section.markdown, "## Table 1")
    assert [row["model"] for row in rows] == [row["label"] for row in REPORTED["table1"]["rows"].values()]
    for row, printed in zip(rows, REPORTED["table1"]["rows"].values(), strict=True):
        assert (float(row["paper"]), float(row["paper 2"])) == (printed["All"], printed["No UNK"])
    assert [row[""] for row in made.cells(section.markdown, "## Table 2")] == ["ours", "paper"] * 5


def test_each_number_stands_in_its_own_column(folder, tmp_path):
    section = build(folder, tmp_path / "out")
    rows = {row["model"]: row for row in made.cells(section.markdown, "## Table 1 ".strip())}
    for index, system in enumerate(SYSTEMS):
        printed = REPORTED["table1"]["rows"][system]
        row = rows[printed["label"]]
        assert row["All: ours (95%)"] == f"{60.06 + index:.2f} ({59.935 + index:.2f} to {60.185 + index:.2f})"
        assert row["No UNK: ours (95%)"].startswith(f"{70.07 + index:.2f} (")
        assert (row["paper"], row["paper 2"]) == (f"{printed['All']:.2f}", f"{printed['No UNK']:.2f}")
        assert float(row["difference"]) == pytest.approx(60.06 + index - printed["All"], abs=0.006)
        assert float(row["difference 2"]) == pytest.approx(70.07 + index - printed["No UNK"], abs=0.006)
        assert f"`wmt14/{system}`" in row["the run behind it"] and "abcdef0, generated text" in row["the run behind it"]
    assert all(rows["Moses"][name] == "" for name in OURS) and rows["Moses"]["paper"] == "33.30"
    assert "unfinished: 4,321 of 667,000 updates" in rows["RNNsearch-50*"]["the run behind it"]
    assert "## Table 1: BLEU on the test set (generated text)" in section.markdown


def test_table2_has_our_statistics(folder, tmp_path):
    rows = made.cells(build(folder, tmp_path).markdown, "## Table 2")
    ours = {rows[index]["model"]: rows[index] for index in range(0, len(rows), 2)}
    assert ours["RNNsearch-50"] == {
        "model": "RNNsearch-50",
        "": "ours",
        "updates": "288,000",
        "epochs": "4.5",
        "hours": "2",
        "hardware": "a machine",
        "train NLL": "66.6",
        "dev NLL": "77.7",
    }
    assert ours["RNNsearch-50*"]["updates"] == "4,321 of 667,000"
    assert rows[1]["updates"] == "846,000" and rows[1]["dev NLL"] == "53.0" and rows[1]["hardware"] == "TITAN BLACK"


def test_long_sentences_are_matched_by_their_source(tmp_path):
    """Each system may have kept others. None is lost, and none is beside a translation of another."""
    kept = {"rnnencdec-50": ["one", "two"], "rnnsearch-50": ["two", "three three"]}
    for system, sources in kept.items():
        file = values(system)
        long = tuple(LongSentence(source=one, reference="r", hypothesis=f"{system[3:6]} {one}") for one in sources)
        sets = {name: replace(scored, longest=long) for name, scored in file.sets.items()}
        made.write(tmp_path, system, replace(file, sets=sets))
    text = build(tmp_path, tmp_path / "out").markdown
    blocks = [[*row.values()] for one in made.tables(text[text.index("## Table 3") :])[:3] for row in one]
    assert [row[1] for row in blocks if row[0] == "Source"] == ["one", "two", "three three"]
    assert [row for row in blocks if row[0].startswith("RNN")] == [
        ["RNNencdec-50", "enc one"], ["RNNencdec-50", "enc two"], ["RNNsearch-50", "sea two"],
        ["RNNsearch-50", "sea three three"],
    ]  # fmt: skip


def test_claims_are_decided_by_the_sentences(folder, tmp_path):
    verdicts = {outcome.claim.id: outcome for outcome in build(folder, tmp_path / "out").claims}
    expected = {"search-beats-moses": "not run", "search-steady-with-length": "undecided"}
    assert {name: outcome.verdict for name, outcome in verdicts.items()} == {
        name: expected.get(name, "holds") for name in verdicts
    }
    assert "unfinished" in verdicts["longer-training"].evidence
    recorded = json.loads((tmp_path / "out" / "claims.json").read_text())
    assert {record["id"]: record["verdict"] for record in recorded} == {name: o.verdict for name, o in verdicts.items()}


def test_claims_fail_when_the_systems_change_places(tmp_path):
    for system, other in zip(SYSTEMS, reversed(SYSTEMS), strict=True):
        made.write(tmp_path, system, values(other))
    verdicts = {outcome.claim.id: outcome.verdict for outcome in build(tmp_path, tmp_path / "out").claims}
    for name in ("search-beats-encdec-30", "longer-training", "longer-sentences-search"):
        assert verdicts[name] == "fails", name


def test_keeping_up_with_length_is_undecided_when_nothing_falls(tmp_path):
    for system in ("rnnencdec-50", "rnnsearch-50"):
        made.write(tmp_path, system, values("rnnsearch-50"))
    verdicts = {outcome.claim.id: outcome.verdict for outcome in build(tmp_path, tmp_path / "out").claims}
    assert verdicts["encdec-falls-with-length"] == verdicts["search-keeps-with-length"] == "undecided"


def test_keeping_up_with_length_fails_when_both_fall_alike(tmp_path):
    for system in ("rnnencdec-50", "rnnsearch-50"):
        made.write(tmp_path, system, values("rnnencdec-50"))
    verdicts = {outcome.claim.id: outcome.verdict for outcome in build(tmp_path, tmp_path / "out").claims}
    assert verdicts["encdec-falls-with-length"] == "holds" and verdicts["search-keeps-with-length"] == "fails"


@pytest.mark.parametrize("star_falls, told", [(0.0, "Too few updates are the likely"), (0.5, "So it is open"),
                                              (0.9, "More updates do not")])  # fmt: skip
def test_a_claim_that_fails_has_what_the_other_runs_tell(tmp_path, star_falls, told):
    """RNNsearch-50 falls by half with length. RNNsearch-50* does not, falls as deep, or deeper."""
    lengths = [5, 20, 30, 55, 60] * 30

    def scored(system: str, falls: float, quality: float, nll: float):
        noise = [0.05 * (k % 3 - 1) for k in range(len(lengths))]
        kept = [quality - falls * quality * (n > 50) for n in lengths]
        columns = {"all": made.column(made.statistics([q + e for q, e in zip(kept, noise, strict=True)]), lengths)}
        file = made.result(PAPER.recipe(system), columns)
        return replace(file, training=replace(file.training, dev=replace(file.training.dev, nll_per_sentence=nll)))

    made.write(tmp_path, "rnnsearch-50", scored("rnnsearch-50", 0.5, 0.8, 50.0))
    made.write(tmp_path, "rnnsearch-50-star", scored("rnnsearch-50-star", star_falls, 0.8, 40.0))
    made.write(tmp_path, "rnnencdec-50", scored("rnnencdec-50", 0.5, 0.4, 90.5))
    made.write(tmp_path, "rnnencdec-30", scored("rnnencdec-30", 0.5, 0.6, 95.25))
    section = build(tmp_path, tmp_path / "out")
    (length,) = (note for note in section.notes if note.startswith("RNNsearch-50 falls with length here."))
    assert told in length and "brevity penalty 1.00 against 1.00" in length
    (encdec,) = (note for note in section.notes if note.startswith("RNNencdec-50 is below RNNencdec-30"))
    assert "ahead in likelihood: 90.5 against 95.2 nats" in encdec


def claim_of(identifier: str):
    (found,) = (claim for claim in tables.length_claims() if claim.id == f"{identifier}-with-length")
    return found


def of_lengths(system: str, quality, lengths: list[int], bleu: float | None = None) -> Result:
    """Make a result with a quality for each length, a little noise, and perhaps another score."""
    noisy = [quality(length) + 0.05 * (k % 3 - 1) for k, length in enumerate(lengths)]
    file = made.result(PAPER.recipe(system), {"all": made.column(made.statistics(noisy), lengths, bleu)})
    return Result(system, Path(), file)


@pytest.mark.parametrize(
    "longest, quality, verdict",
    [(60, 0.9, "holds"), (60, 0.81, "undecided"), (60, 0.2, "fails"), (50, 0.2, "fails"), (45, 0.2, "fails")],
)
def test_steady_is_to_lose_less_than_a_tenth(longest, quality, verdict):
    """A flat curve holds. Of 50 words or more, or else of 40, and all others of 10 words at least."""
    lengths = [5] * 40 + [20, 30] * 40 + [longest] * 60
    run = of_lengths("rnnsearch-50", lambda n: quality if n == longest else 0.9 if n > 9 else 0.1, lengths)
    decided, evidence, left = claim_of("search-steady").decide({"rnnsearch-50": run})
    assert decided == verdict and evidence.endswith(f"; 60 sentences of {50 if longest >= 50 else 40} words or more")
    counts, of_length = run.all.counts, run.all.lengths
    long, others = (bleu(counts[chosen]) for chosen in (of_length == longest, (of_length > 9) & (of_length < longest)))
    assert left.value == pytest.approx(long - 0.9 * others)
    assert f"{long - others:+.2f} (" in evidence and f"{100 * (long / others - 1):+.0f}% (" in evidence


def test_below_the_floor_nothing_is_decided_about_length():
    """The sentences fall steeply, but the score says that the model does not translate."""
    lengths = [5, 20, 30, 60] * 60
    runs = {name: of_lengths(name, lambda n: 0.9 - 0.5 * (n > 20), lengths, 1.99)
            for name in ("rnnencdec-50", "rnnsearch-50")}  # fmt: skip
    for identifier in ("encdec-falls", "search-keeps", "search-steady"):
        verdict, evidence, _ = claim_of(identifier).decide(runs)
        assert verdict == "undecided" and "has 1.99 BLEU: nothing to fall from" in evidence, identifier
    runs = {name: of_lengths(name, lambda n: 0.9 - 0.5 * (n > 20), lengths, tables.FLOOR) for name in runs}
    decided = [claim_of(name).decide(runs)[0] for name in ("encdec-falls", "search-keeps", "search-steady")]
    assert decided == ["holds", "fails", "fails"]


def test_claims_over_a_model_that_does_not_translate_have_a_note(tmp_path):
    """Of 72 sentences with 11 words each, every second is a single UNK: 36 of 792 words."""
    for system in ("rnnencdec-30", "rnnsearch-30", "rnnsearch-50"):
        file = values(system)
        if "encdec" in system:
            column = replace(file.sets["made"].columns["all"], bleu=0.5, hypotheses=("UNK.", "mot UNKNOWN") * 36)
            file = replace(file, sets={"made": made.scored({"all": column})})
        made.write(tmp_path, system, file)
    notes = build(tmp_path, tmp_path / "out").notes
    (note,) = (note for note in notes if note.startswith("Below 2 BLEU"))
    assert "RNNencdec-30 (0.50 BLEU, 5% of its words UNK). " in note and "RNNsearch-30 (" not in note
    assert "RNNsearch-30 beats RNNencdec-30" in note and "RNNsearch-50 beats RNNsearch-30" not in note


def test_bins_of_few_sentences_are_left_out_and_the_star_is_there(folder, tmp_path):
    text = build(folder, tmp_path / "out").markdown
    (rows,) = (block for block in made.tables(text) if "source words" in block[0])
    assert [row["source words"] for row in rows] == [
        "sentences", "RNNsearch-50", "RNNsearch-30", "RNNencdec-50", "RNNencdec-30", "RNNsearch-50*",
    ]  # fmt: skip
    assert all(int(count) >= 10 for name, count in rows[0].items() if name != "source words")
    result = Result("rnnsearch-50-star", Path(), values("rnnsearch-50-star"))
    first, name = next((low, name) for name in rows[0] if (low := name.partition(" to ")[0]).isdigit())
    inside = [n in range(int(first), int(name.partition(" to ")[2]) + 1) for n in LENGTHS]
    score, interval = bleu(result.all.counts[inside]), bootstrap_interval(result.all.counts[inside])
    assert rows[-1][name] == f"{score:.2f} ({interval[0]:.2f} to {interval[1]:.2f})"
    few = [n for n in (3, 4, 5, 6, 30) for _ in range(9 if n == 30 else 20)]
    assert "| 30" not in tables.bins_table({"rnnsearch-50": of_lengths("rnnsearch-50", lambda n: 0.9, few)})


def test_sizes_stand_above_the_scores(tmp_path):
    """They are the run's own, and the paper's stand beside them."""
    assert tables.sizes(PAPER, {}) == []
    made.write(tmp_path, "rnnsearch-50", made.result(PAPER.recipe("europarl-small/rnnsearch-50"), {
        "all": made.column(made.statistics([0.9, 0.8] * 36), LENGTHS)}))  # fmt: skip
    text = build(tmp_path, tmp_path / "out").markdown
    line = "Ours: 256 hidden units and shortlists of 15,000 words. The paper's: 1,000 hidden units and shortlists of "
    for heading in ("## Table 1", "## Table 2"):
        assert text[text.index(heading) :].split("\n\n")[1].startswith(line)


def test_figures_are_pictures_that_the_text_refers_to(folder, tmp_path):
    section = build(folder, tmp_path / "out")
    assert [figure.name for figure in section.figures] == ["bleu-by-length", "alignments"]
    for figure in section.figures:
        assert figure.png.startswith(b"\x89PNG") and f"(figures/{figure.name}.png)" in section.markdown
        assert (tmp_path / "out" / "figures" / f"{figure.name}.png").read_bytes() == figure.png


def test_window_is_the_papers_on_long_text_and_narrower_on_short():
    assert figures.window(np.array([3, 60])) == figures.window(np.array([90])) == 10
    assert figures.window(np.array([3, 24])) == 4 and figures.window(np.array([3])) == 2


def test_long_sentences_survive_markdown(folder, tmp_path):
    lines = build(folder, tmp_path).markdown.split("\n")
    row = next(line for line in lines if line.startswith("| RNNsearch-50 | une"))
    assert "une \\<b\\> longue" in row


def test_changes_come_from_the_run_not_from_todays_recipe(tmp_path):
    changed = values("rnnsearch-50")
    changed.resolved_recipe["model"]["hidden"] = 777
    made.write(tmp_path, "rnnsearch-50", changed)
    rows = made.cells(build(tmp_path, tmp_path / "out").markdown, "## What these recipes change")
    assert [list(row.values()) for row in rows] == [["`model.hidden`", "1,000", "777", "rnnsearch-50"]]
