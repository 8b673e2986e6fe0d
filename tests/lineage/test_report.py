"""The report of committed results: what its HTML holds, what a browser makes of it, and the screenful on a terminal."""

from __future__ import annotations

import base64
import html
import json
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from common.errors import UserError
from common.report import charts
from common.report.results import Result, read_results
from common.result import Measured
from papers.lineage import PAPERS, report
from papers.lineage.__main__ import main
from tests.conftest import ROOT

SCALE = "multi30k"
PRINTED = {"paper", "theirs", "there", "BLEU there", "FLOPs: paper", "the paper's, counted", "the paper's recipe"}
"""Headings of printed numbers."""
MOST = 4_000_000
"""Bytes that the page may have."""


class Page(HTMLParser):
    """What is needed of a page: all attributes by element, where tables are, and the cells of each row."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[tuple[str, dict[str, str | None]]] = []
        self.told: list[str] = []
        self.bare_tables = 0
        self.tables: list[list[list[tuple[str, list[str]]]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        element = (tag, dict(attributes))
        self.elements.append(element)
        if tag == "table":
            self.bare_tables += not any("wide" in (held.get("class") or "") for _, held in self.open)
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append(("", []))
        if tag == "button" and any(name == "td" for name, _ in self.open):
            self.tables[-1][-1][-1][1].append(element[1].get("popovertarget") or "")
        if tag not in ("meta", "img", "br"):
            self.open.append(element)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        if {name for name, _ in self.open} & {"h2", "h3", "h4", "li", "p", "summary"}:
            self.told.append(data)
        if any(name in ("td", "th") for name, _ in self.open):
            text, cards = self.tables[-1][-1][-1]
            self.tables[-1][-1][-1] = (text + data, cards)

    def values(self, attribute: str) -> list[str]:
        """Return all values of an attribute, in the page's order."""
        return [held[attribute] or "" for _, held in self.elements if attribute in held]


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> tuple[Path, str]:
    """The page of the committed results, and what is printed with it."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    return path, report.write(list(PAPERS.values()), SCALE, None, path)


@pytest.fixture(scope="module")
def page(written) -> Page:
    return Page(written[0].read_text(encoding="utf-8"))


def test_the_page_is_whole_and_loads_nothing(written, page):
    text = written[0].read_text(encoding="utf-8")
    assert not page.open and page.bare_tables == 0 and len(text.encode()) < MOST
    assert [name for name, count in Counter(page.values("id")).items() if count > 1] == []
    assert all(source.startswith("data:") for source in page.values("src"))
    assert not re.search(r"@import|url\(|<link|fetch\(|XMLHttpRequest|https?://(?!www\.w3\.org/2000/svg)", text)
    inside = {link[1:] for link in page.values("href") if link.startswith("#")}
    assert inside | set(page.values("popovertarget")) <= set(page.values("id"))
    for link in page.values("href"):
        assert link.startswith("#") or (written[0].parent / link).is_file(), link
    assert not re.search(f">[^<]*{re.escape(str(ROOT))}", text), "links are relative"
    assert ">papers/vaswani2017/results/multi30k/base.json<" in text


def test_no_brackets_stand_in_brackets(page):
    told = [text for table in page.tables for row in table for text, _ in row] + page.told
    assert [text for text in told if re.search(r"\([^()]*\(", text)] == []
    assert len(page.told) > 100


def test_verdicts_and_contents_come_first(page):
    places = [name for name in page.values("id") if name in ("overview", "verdicts", *PAPERS, "lineage", "runs")]
    assert places == ["verdicts", "overview", *PAPERS, "lineage", "runs"]
    tags = [tag for tag, _ in page.elements]
    assert tags.index("h1") < tags.index("nav") < tags.index("table")
    linked = {link[1:] for link in page.values("href") if link.startswith("#")}
    assert {held["id"] for tag, held in page.elements if tag in ("section", "h3") and "id" in held} - linked <= {
        "overview"
    }


def committed() -> dict[str, set[str]]:
    """Return the scores of each committed run as pages write them, by the run's card."""
    scores = {}
    for path in (ROOT / "papers").glob(f"*/results/{SCALE}/*.json"):
        if "." in path.stem or path.name == "claims.json":
            continue
        sets = json.loads(path.read_text(encoding="utf-8"))["sets"].values()
        columns = [column for one in sets for column in one["columns"].values()]
        name = f"run-{path.parts[-4]}-{path.stem}"
        scores[name] = {"{:.2f} ({:.2f} to {:.2f})".format(one["bleu"], *one["interval"]) for one in columns}
    return scores


def test_each_score_opens_the_card_of_the_run_whose_result_holds_it(page):
    """In every table but those of verdicts. In a column of printed numbers no cell opens a card.

    BLEU of a bin of lengths is in no result: there the model's name opens the card. Nor is a mean over seeds: there it
    is the model's name or the recipe's.
    """
    scores, seen = committed(), Counter()
    for header, *rows in page.tables:
        if header[0][0] == "source words":
            assert [len(row[0][1]) for row in rows] == [0, *(1 for _ in rows[1:])]  # the first row counts sentences
            continue
        for row in rows:
            of_seeds = any("seeds, " in text for text, _ in row)
            for (heading, _), (text, cards) in zip(header, row, strict=True):
                if re.fullmatch(r"\d+\.\d\d \(\d+\.\d\d to \d+\.\d\d\)", text):
                    if of_seeds:
                        assert cards == [] and any(others for _, others in row)
                        continue
                    (card,) = cards
                    assert text in scores[card]
                    seen[card] += 1
                if heading in PRINTED:
                    assert cards == [], text
    assert set(seen) == set(scores) and min(seen.values()) >= 3


def test_the_attention_is_the_committed_one(written):
    """To four decimals, which is all that new files have."""
    text = written[0].read_text(encoding="utf-8")
    shown = [
        run for data in re.findall(r'<script type="application/json">(.*?)</script>', text) for run in json.loads(data)
    ]
    files = {
        path.name.partition(".")[0]: path for path in (ROOT / "papers").glob(f"*/results/{SCALE}/*.attention.json")
    }
    assert sorted(run["title"].partition(":")[0] for run in shown) == sorted(files)
    for run in shown:
        kept = json.loads(files[run["title"].partition(":")[0]].read_text(encoding="utf-8"))
        for ours, theirs in zip(run["examples"], kept, strict=True):
            assert ours["line"] == theirs["line"] and len(ours["source"]) == len(theirs["source"])
            attention = (
                theirs["attention"] if isinstance(theirs["attention"], dict) else {"source": theirs["attention"]}
            )
            for name, weights in attention.items():
                found = np.frombuffer(base64.b64decode(ours["maps"][name]["weights"]), "<u2") / 10_000
                assert np.abs(found - np.ravel(weights)).max() < 0.000_051


def test_a_screenful_says_what_came_out(written):
    """Every committed score, or mean over seeds, beside a printed one; verdicts of claims.json; where the page is."""
    path, printed = written
    lines = printed.splitlines()
    assert len(lines) <= 13 and lines[-1] == f"report  {path.resolve()}"
    for name in (*PAPERS, "lineage"):
        records = json.loads((ROOT / "papers" / name / "results" / SCALE / "claims.json").read_text(encoding="utf-8"))
        (line,) = [line for line in lines if line.startswith(f"claims  {name}: ")]
        told = {verdict: int(number) for number, verdict in re.findall(r"(\d+) ([a-z ]+)", line.partition(": ")[2])}
        assert told == Counter(record["verdict"] for record in records)
    shown = Counter(word for line in lines for word in re.findall(r"\b\d+\.\d\d\b", line))
    scores = {score.partition(" ")[0] for found in committed().values() for score in found}
    printed_there = ["13.93", "17.82", "21.50", "26.75", "28.45", "27.30", "38.10", "61.80", "41.02"]
    assert all(shown[number] for number in printed_there) and shown.total() == 2 * len(printed_there)
    single: set[str] = set()  # scores of single trainings whose mean is shown
    for second in (ROOT / "papers").glob(f"*/results/{SCALE}/*-seed2.json"):
        first = second.with_name(second.name.replace("-seed2", ""))
        seeds = [first, *first.parent.glob(f"{first.stem}-seed*.json")]
        files = [json.loads(path.read_text(encoding="utf-8")) for path in seeds]
        own = [file["sets"]["test_2016_flickr"]["columns"]["all"]["bleu"] for file in files]
        scores.add(f"{np.mean(own):.2f}")
        single |= {f"{one:.2f}" for one in own}
    assert shown.keys() - {*printed_there} <= scores - single


def test_each_printed_number_of_the_screenful_has_its_origin_on_its_line(written):
    whose = {
        "28.45": "the paper, newstest2014",
        "38.10": "the paper's base model, newstest2014",
        "61.80": "Wu et al. 2021",
    }
    for number, origin in whose.items():
        (line,) = [line for line in written[1].splitlines() if number in line.split()]
        assert origin in line
    both = [line for line in written[1].splitlines() if {"61.80", "41.02"} <= {*line.split()}]
    assert len(both) == 1, "a line for a model"


def test_without_results_there_is_no_report(tmp_path):
    with pytest.raises(UserError, match="no result of this scale; train its systems first"):
        report.write(list(PAPERS.values()), SCALE, tmp_path, tmp_path / "report.html")
    assert not list(tmp_path.iterdir()), "a folder that is no folder of runs stays as it is"


def test_the_report_is_offered_for_scales_that_have_one(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["report", "--scale", "ambiguities"])
    assert ended.value.code == 2 and "multi30k" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main(["report", "--scale", "deletion"])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.count("\n") == 1 and "tables --scale deletion" in said


def _with_curve(run: Result, points: list[tuple[int, float]]) -> Result:
    curve = tuple(Measured(step=step, dev_nll_per_token=nats) for step, nats in points)
    return replace(run, file=replace(run.file, training=replace(run.file.training, dev_curve=curve)))


def test_a_curve_that_goes_on_from_another_hides_nothing_of_it():
    run = read_results(ROOT / "papers/bahdanau2014/results" / SCALE)["rnnsearch-50"]
    first = [(100, 5.0), (200, 4.0), (300, 3.0)]
    longer, short, other = (
        _with_curve(run, points) for points in ([*first, (400, 2.5), (500, 2.0)], first, [(100, 5.5), (200, 4.5)])
    )
    drawn = [
        len(line.split()) for line in re.findall('points="([^"]*)"', charts.learning_curves([longer, short, other]))
    ]
    assert drawn == [3, 3, 2], "the longer one from the last point that both have"
    drawn = re.findall('points="([^"]*)"', charts.learning_curves([short, short]))
    assert [len(line.split()) for line in drawn] == [3, 1]


SIMULATED = {
    "nobody": np.eye(3),
    "protan": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deutan": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}
"""What linear red, green and blue become for a colour-blind reader (Machado et al. 2009, severity 1)."""


def lab(colour: str, seen: np.ndarray) -> np.ndarray:
    """Return a colour as #rrggbb in CIE 1976 L*a*b*."""
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = seen @ np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]] @ np.clip(linear, 0, 1)
    x, y, z = np.cbrt(xyz / [0.9505, 1.0, 1.089])  # the line near black is no matter here
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("seen", SIMULATED)
def test_the_colours_of_curves_can_be_told_apart(seen):
    """In both themes, by colour-blind readers too: 2.3 is the least difference that is seen at all."""
    found = re.findall(r"--c\d: (#[0-9a-f]{6})", (ROOT / "common/report/web.css").read_text(encoding="utf-8"))
    assert len(found) == 2 * charts.COLOURS
    for theme in (found[: charts.COLOURS], found[charts.COLOURS :]):
        for one, other in combinations(theme, 2):
            apart = np.linalg.norm(lab(one, SIMULATED[seen]) - lab(other, SIMULATED[seen]))
            assert apart > 20, (one, other)


CHECK = """<script>
const found = {width: innerWidth, overflow: document.documentElement.scrollWidth - innerWidth};
found.paper = getComputedStyle(document.body).backgroundColor;
const lines = (cell) => {
  const range = document.createRange();
  range.selectNodeContents(cell);
  return range.getClientRects().length;
};
found.papers = [...document.querySelectorAll("#lineage tbody .run")].map((run) => lines(run.closest("tr").cells[0]));
const right = (selector) => [...document.querySelectorAll(selector)].map((one) => one.getBoundingClientRect().right);
found.hidden = Math.max(...right("#overview tr > :nth-child(4)")) - Math.min(...right("#overview .wide"));
const place = document.querySelectorAll(".explorer")[1];
const said = () => place.querySelector("output").textContent;
const choose = (name, value) => {
  const select = place.querySelector(`[data-choice=${name}]`);
  select.value = value;
  select.dispatchEvent(new Event("change"));
};
choose("sentence", 1);
choose("attention", 0);
choose("head", 2);
place.querySelectorAll(".matrix rect")[3].dispatchEvent(new PointerEvent("pointerover", {bubbles: true}));
found.cell = said();
const wide = document.createElement("div");
const data = document.createElement("script");
data.type = "application/json";
const map = {shape: [1, 1, 1, 1], weights: btoa("\\x10\\x27")};
const words = {source: ["W".repeat(30)], target: ["M".repeat(30)]};
data.textContent = JSON.stringify([{title: "", examples: [{line: "", ...words, maps: {source: map}}]}]);
wide.append(data);
document.body.append(wide);
explore(wide);
const outside = (text) => {
  const [own, svg] = [text, text.closest("svg")].map((one) => one.getBoundingClientRect());
  return Math.max(svg.left - own.left, svg.top - own.top, own.right - svg.right, own.bottom - svg.bottom);
};
const labels = [...document.querySelectorAll(".matrix text, .chart text")];
found.cut = labels.filter((text) => outside(text) > 1).map((text) => text.textContent);
wide.remove();
found.curves = [...document.querySelectorAll(".chart .target")].map((dot) => {
  const { left, top, width, height } = dot.getBoundingClientRect();
  const at = { clientX: left + width / 2, clientY: top + height / 2, bubbles: true };
  dot.closest("svg").dispatchEvent(new PointerEvent("pointermove", at));
  const said = dot.closest("figure").querySelector("output").textContent;
  return said.split("; ").includes(dot.parentNode.querySelector("title").textContent);
});
const number = document.querySelector("td .run");
number.click();
found.card = [...document.querySelectorAll(":popover-open")].map((card) => card.id);
found.asked = number.getAttribute("popovertarget");
parent.document.querySelector("pre").textContent = JSON.stringify(found);
</script></body>"""
"""A reader: looks at tables, chooses a sentence, layer and head of the second paper, points at a cell, clicks."""


@pytest.mark.parametrize(("width", "dark"), [(400, True), (1400, False)])
def test_a_browser_shows_it(written, tmp_path, width, dark):
    """On a phone and on a screen: nothing is wider than the window, no error is logged, and the page responds."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no Chromium is installed")
    page = html.escape(written[0].read_text(encoding="utf-8").replace("</body>", CHECK))
    frame = f'<iframe style="width: {width}px; height: 900px; border: 0" srcdoc="{page}"></iframe>'  # windows are wider
    file = tmp_path / "frame.html"
    text = f"<!doctype html><meta charset=utf-8><style>:root {{ color-scheme: light dark; }}</style><pre></pre>{frame}"
    file.write_text(text, encoding="utf-8")
    words = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    words += ["--enable-logging=stderr", f"--blink-settings=preferredColorScheme={0 if dark else 1}"]
    done = subprocess.run([*words, "--dump-dom", file.as_uri()], capture_output=True, text=True, timeout=300)
    assert "CONSOLE" not in done.stderr, done.stderr
    found = json.loads(html.unescape(re.search("<pre>(.*?)</pre>", done.stdout)[1]))
    assert found["width"] == width and found["overflow"] <= 0
    assert found["hidden"] < 1, "the score and the one beside it are seen without scrolling"
    assert found["cut"] == [], "no label is cut"
    assert {*found["papers"]} == {1}, "no name of a paper is broken"
    assert found["card"] == [found["asked"]]
    assert len(found["curves"]) > 20 and all(found["curves"]), "each dot can be pointed at, whatever lies above it"
    assert (max(map(int, re.findall(r"\d+", found["paper"]))) < 60) == dark
    second = json.loads((ROOT / "papers/vaswani2017/results" / SCALE / "base-enfr.attention.json").read_text())[1]
    weight = second["attention"]["encoder"][0][1][0][3]
    assert found["cell"] == f"“{second['source'][0]}” looks at “{second['source'][3]}”: {weight:.2f}"
