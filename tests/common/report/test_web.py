"""The HTML report of invented sections: which numbers name which run, and what stays text."""

from __future__ import annotations

import base64
import re
from pathlib import Path

from common.report.claims import Claim, Outcome
from common.report.page import Figure, Section
from common.report.provenance import identifier
from common.report.results import Result, read_results
from common.report.web import Chapter, render, write_report
from common.result import Example
from papers.bahdanau2014.paper import PAPER
from tests import made_results as made

LENGTHS = [5, 9, 14] * 4
TITLE = "RNNsearch-50"


def results(folder: Path, seeds: tuple[int, ...] = (1,)) -> dict[str, Result]:
    """Two systems: one with a training for each seed, whose BLEU is 20 + seed, and one of BLEU 30."""
    names = {f"rnnsearch-50-seed{seed}": (20.0 + seed, seed) for seed in seeds} | {"rnnencdec-50": (30.0, 1)}
    for name, (value, seed) in names.items():
        recipe = PAPER.recipe(f"demo/{name.partition('-seed')[0]}", [f"train.seed={seed}"])
        column = made.column(made.statistics([0.5] * len(LENGTHS)), LENGTHS, value)
        made.write(folder, name, made.result(recipe, {"all": column}), [EXAMPLE])
    return read_results(folder)


EXAMPLE = Example(
    line="A </script> cat.", source=("a", "&lt;b&gt;"), target=("x",), attention={"source": [[0.25, 0.75]]}
)


def chapter(markdown: str, runs: dict[str, Result], labels: dict[str, str] | None = None, **parts) -> Chapter:
    given = {"figures": [], "claims": [], "notes": []} | parts
    return Chapter("one", Section("A & B", markdown, **given), runs, labels or {})


def buttons(html: str) -> list[tuple[str, str]]:
    """Return card and text of each button that opens a card."""
    return [
        (card, re.sub("<.*?>", "", text))
        for card, text in re.findall('class="run" popovertarget="(.*?)">(.*?)</button', html)
    ]


def test_a_number_names_the_run_that_has_it_and_a_printed_one_none(tmp_path):
    """The printed score is the same as ours here, and stays text."""
    runs = results(tmp_path)
    card, other = (identifier(runs[system]) for system in ("rnnsearch-50", "rnnencdec-50"))
    rows = f"| {TITLE} | 21.00 (20.88 to 21.12) | 21.00 | 21.00 | 99.99 |\n| Moses | 21.00 | 21.00 | 21.00 | |"
    text = f"| model | BLEU: ours (95%) | paper | by seed | difference |\n|-|-|-|-|-|\n{rows}"
    shown = render(chapter(text, runs))
    assert buttons(shown) == [(card, TITLE), (card, "21.00 (20.88 to 21.12)"), (card, "21.00")]
    assert shown.count("<td>21.00</td>") == 4
    named = render(chapter("| run | one | paper's |\n|-|-|-|\n| `demo/rnnencdec-50`, 1 | 30.00 | 30.00 |", runs))
    assert buttons(named) == [(other, "demo/rnnencdec-50"), (other, "30.00")]
    assert buttons(render(chapter(f"| a | b |\n|-|-|\n| {TITLE} | 30.00 |", runs))) == [(card, TITLE)]


def test_a_row_may_begin_with_another_label_of_its_run(tmp_path):
    runs = results(tmp_path)
    text = "| model | BLEU |\n|-|-|\n| RNNenc | 30.00 |"
    assert buttons(render(chapter(text, runs))) == []
    assert buttons(render(chapter(text, runs, {"RNNenc": "rnnencdec-50"}))) == [
        (identifier(runs["rnnencdec-50"]), "30.00")
    ]


def test_each_number_of_a_list_names_its_own_seed(tmp_path):
    runs = results(tmp_path, (1, 2))
    trainings = [identifier(run) for run in runs["rnnsearch-50"].trainings]
    shown = render(chapter(f"| variant | by seed |\n|-|-|\n| {TITLE} | 21.00, 22.00 |", runs))
    assert buttons(shown)[1:] == [(trainings[0], "21.00"), (trainings[1], "22.00")]


def test_the_report_is_one_file_and_text_stays_text(tmp_path):
    """Also what a claim, a title or a translation says is no markup."""
    runs = results(tmp_path / "runs")
    claim = Claim("id", "a <b> holds", "§1", ("rnnsearch-50",), lambda runs: ("holds", "", None))
    outcomes = [
        Outcome(claim, "holds", "+1 <i>"),
        Outcome(Claim("no", "none", "§2", ("x",), claim.decide), "not run", "needs x"),
    ]
    text = (
        "# T\n\n## Part (x)\n\n![f](figures/f.png)\n\n## Part (y)\n\n<script>x</script>\n\n## Claims\n\n| gone |\n|-|\n"
    )
    figures = [Figure("f", "f", "c", b"\x89PNG picture")]
    write_report("A & B", "", [chapter(text, runs, figures=figures, claims=outcomes)], tmp_path / "new" / "report.html")
    page = (tmp_path / "new" / "report.html").read_text(encoding="utf-8")
    assert base64.b64decode(re.search('src="data:image/png;base64,(.*?)"', page)[1]) == b"\x89PNG picture"
    assert "<title>A &amp; B</title>" in page and "gone" not in page
    assert (
        "&lt;script&gt;x" in page
        and "a &lt;b&gt; holds" in page
        and "+1 &lt;i&gt;" in page
        and "</script> cat" not in page
    )
    assert 'id="one-part"' in page and 'id="one-part-2"' in page and page.count("<script") == page.count("</script>")
    assert "A &amp; B: 1 holds, 1 not run" in page and "none: needs x" in page


def test_a_card_says_where_a_run_is_from(tmp_path):
    runs = results(tmp_path / "runs", (1, 2))
    run = runs["rnnsearch-50"]
    (tmp_path / "runs" / run.label / "log.jsonl").write_text("")
    write_report("T", "", [chapter("# T", runs)], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    (card,) = re.findall(rf'<div popover id="{identifier(run)}".*?</dl>', page, re.DOTALL)
    for fact in (run.file.recipe_sha256, "demo/rnnsearch-50", "abcdef0123", "a machine", "made|by:hand", "mot"):
        assert fact in card, fact
    assert buttons(card) == [(identifier(run.others[0]), "2")]
    for link in re.findall('href="(.*?)"', card):
        assert (tmp_path / link).is_file()
    assert card.count("log.jsonl") == 2 and "1,000 updates" not in card and "not here" not in card
