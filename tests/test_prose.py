"""A score in a README or in a recipe's header must be in a file: a committed result or a transcript of the paper.

A score looks like 26.75 or 41.8: two digits, a point, one or two digits, and no unit after it. Other numbers have their
unit: 40.8 million, 21.5 GiB, 49.8%.
"""

from __future__ import annotations

import ast
import dataclasses
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from common.recipe import _MOVED, SECTIONS
from common.yaml_files import read_yaml
from papers.lineage import PAPERS, front
from papers.lineage.deletion.paper import PAPER as STEPS
from tests.conftest import ROOT

PAGES = sorted([ROOT / "README.md", *ROOT.glob("papers/*/README.md"), *ROOT.glob("papers/*/results/README.md"),
                *ROOT.glob("papers/*/reproducibility.md")])  # fmt: skip
UNITS = "million|GiB|MiB|ms|s|h|hours?|minutes?|times|points?"
SCORE = re.compile(rf"(?<![\w.])\d\d\.\d\d?\b(?!\.\d)(?! ?(?:%|(?:{UNITS})\b))")
MEASURED = ("bleu", "sacrebleu", "interval")
"""The fields of a committed result that are scores."""


def numbers(values: Any) -> Iterator[float]:
    """Yield all numbers in nested lists and dictionaries."""
    if isinstance(values, dict):
        values = list(values.values())
    if isinstance(values, list):
        for value in values:
            yield from numbers(value)
    elif isinstance(values, (int, float)):
        yield float(values)


def measured(values: Any) -> Iterator[float]:
    """Yield all scores of a committed result."""
    if isinstance(values, dict):
        for key, value in values.items():
            yield from numbers(value) if key in MEASURED else measured(value)


def printed(paper: str) -> Iterator[float]:
    """Yield all numbers that the papers or other people printed."""
    for path in PAPERS[paper].root.glob("reported*.yaml"):
        yield from numbers(read_yaml(path))


def held(papers: Iterable[str]) -> list[float]:
    """Return all numbers that the pages of these papers may show."""
    found: list[float] = []
    for paper in papers:
        found += printed(paper)
        for path in (PAPERS[paper].root / "results").glob("*/*.json"):
            found += measured(json.loads(path.read_text(encoding="utf-8")))
    return found


def unheld(text: str, found: Iterable[float]) -> list[str]:
    """Return line and number of the scores in `text` that are not in `found`, rounded to the same number of digits."""
    known = {f"{value:.{digits}f}" for value in found for digits in (1, 2)}
    lines = enumerate(text.splitlines(), start=1)
    return [f"line {line}: {score}" for line, row in lines for score in SCORE.findall(row) if score not in known]


def test_a_score_is_told_from_other_numbers():
    assert unheld("arXiv:1409.0473, v1.04, 3.10, 12.7 million, 21.5 GiB, 10.5%, 2.2e13, 63.05.1, 109 hours", []) == []
    text = "first\n| 36.46 (34.81 to 38.14) |\nor 36.5; 27.3."
    assert unheld(text, [36.457119, 34.809, 27.3]) == ["line 2: 38.14"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.parent.relative_to(ROOT)))
def test_scores_in_prose_are_in_a_file(page: Path):
    text = page.read_text(encoding="utf-8")
    if page.parent == ROOT:  # the block is compared with the results by test_results.py
        text = front.BLOCK.sub(lambda block: "\n" * block[0].count("\n"), text)
    own = [paper for paper in PAPERS if paper in page.parts] or list(PAPERS)
    missing = unheld(text, held(own))
    assert not missing, f"{page.relative_to(ROOT)}: in no committed result and no reported.yaml: {', '.join(missing)}"


LINKED = sorted([*ROOT.glob("*.md"), *ROOT.glob("papers/**/*.md"), *ROOT.glob("benchmarks/*.md")])
LINK = re.compile(r"""(?:\]\(|src=")([^)"\s#]*)(?:#([^)"\s]+))?[)"]""")


def anchors(page: Path) -> set[str]:
    """Return the names by which a page's headings can be linked to."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", LINKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path):
    """Links to files and headings of this repository. Links to other hosts are not followed."""
    for target, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        if "://" not in target:
            found = page.parent / target if target else page
            assert found.exists(), target
            assert not anchor or anchor in anchors(found), f"{target}#{anchor}"


def test_the_gpu_table_is_the_file():
    """Cells of benchmarks/README.md, each rounded as it is shown there."""
    folder, hours = ROOT / "benchmarks", "hours_for_the_paper's_updates"
    rows = json.loads((folder / "results" / "gpu.json").read_text(encoding="utf-8"))["rows"]
    made = [
        [
            row["system"].rpartition("/")[2],
            row["precision"],
            f"{1000 * row['seconds_per_update']:.0f}",
            f"{row['target_tokens_per_second']:,}",
            f"{row['flops_per_second']:.1e}".replace("e+", "e"),
            f"{row['share_of_peak']:.1%}",
            f"{row['peak_memory_gib']:.1f} GiB",
            f"{row[hours]:.1f} h",
        ]
        for row in rows
        if "system" in row  # Marian and decoding have rows of their own
    ]
    text = (folder / "README.md").read_text(encoding="utf-8").partition("## One GPU")[2]
    shown = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    assert shown[2:] == made


def cells(heading: str) -> list[list[str]]:
    """Return all rows of the tables under a heading of benchmarks/README.md, without their own headings."""
    text = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8").partition(f"## {heading}\n")[2]
    lines = text.partition("\n## ")[0].splitlines()
    rules = [number for number, line in enumerate(lines) if line.startswith("|---")]
    rows = [line for number, line in enumerate(lines) if line.startswith("|") and not {number, number + 1} & {*rules}]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in rows]


def test_the_tables_of_two_cores_are_the_files():
    train, decode, scale = (
        json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8"))["rows"]
        for name in ("train", "decode", "scale")
    )
    made = [
        [
            row["system"],
            row["program"],
            f"{row['milliseconds_per_update']:,.0f}",
            f"{row['target_tokens_per_second']:,}",
            f"{row['times_the_best_peers_rate']:.2f}",
            f"{row['share_of_matmul_rate']:.0%}",
        ]
        for row in train
    ]
    made += [
        [
            row["recipe"].partition("/")[2],
            str(row["beam"]),
            row["contender"],
            f"{row['sentences_per_second']:.0f}",
            f"{row['words_per_second']:,}",
        ]
        for row in decode
    ]
    made += [
        [
            row["system"].rpartition("/")[2],
            f"{row['open']['seconds']:.1f} s",
            f"{row['first_epoch']['seconds']:.1f} s",
            f"{max(row[part]['peak_memory_mib'] for part in ('open', 'first_epoch', 'next_epoch', 'load')):,} MiB",
            f"{row['load']['target_tokens_per_second'] / 1e6:.1f} million",
        ]
        for row in scale
    ]
    assert cells("Two CPU cores") == made


RECIPES = sorted((paper, path) for paper in PAPERS for path in (PAPERS[paper].root / "recipes").rglob("*.yaml"))
FIELDS = re.compile(r"# ( {8}|[a-z]{7} |[a-z]{8})  (?=\S)(.*)")
"""A line of a header's fields: the name in eight columns, or blanks if the field continues, and then its text."""


def header(path: Path) -> str:
    """Return the comment at the beginning of a recipe."""
    return path.read_text(encoding="utf-8").partition("\n\n")[0]


def fields(text: str) -> dict[str, str]:
    """Return the fields of a header in their order. A field of several lines is joined."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        if match := FIELDS.fullmatch(line):
            name = match[1].strip() or next(reversed(found))
            found[name] = f"{found.get(name, '')} {match[2]}".strip()
    return found


def expected(paper: str, system: str) -> tuple[list[float], list[float]]:
    """Return the scores that a system's header must show, and all that it may show, from reported.yaml."""
    tables = read_yaml(PAPERS[paper].root / "reported.yaml")["tables"]
    rows = {name: table["rows"][system] for name, table in tables.items() if system in table["rows"]}
    if system.startswith("table3-"):
        row = rows["table3"]
        return [row["BLEU"], row["PPL"]], list(numbers(row))
    if paper == "vaswani2017":
        row = tables["table2"]["rows"][system.partition("-")[0]]
        pair = "EN-FR" if system.endswith("-enfr") else "EN-DE"
        return [row[pair]], [value for name, value in row.items() if name.startswith(pair)]
    row = rows["table1"]
    return [row["All"], row["No UNK"]], list(numbers(rows))


OWN = [(paper, path) for paper, path in RECIPES if path.parent.name in ("recipes", "wmt14")]
"""Recipes of the papers' own size."""


@pytest.mark.parametrize(("paper", "path"), OWN, ids=[f"{paper}-{path.stem}" for paper, path in OWN])
def test_headers_expect_what_the_paper_printed(paper, path):
    """Each recipe of a table's row shows that row's scores, and no other."""
    needed, allowed = expected(paper, path.stem)
    shown = [float(number) for number in re.findall(r"(?<![\w.§])\d+\.\d+\b", fields(header(path))["expected"])]
    assert set(needed) <= set(shown) <= set(allowed), f"{path}: reported.yaml has {needed}"


@pytest.mark.parametrize(("paper", "path"), OWN, ids=[f"{paper}-{path.stem}" for paper, path in OWN])
def test_headers_show_the_papers_hours(paper, path):
    """`N hours` must be the hours that the paper reports for that row."""
    reported = PAPERS[paper].reported_training
    told = {float(number) for number in re.findall(r"\b(\d+) hours", fields(header(path))["hardware"])}
    known = reported(path.stem)
    assert told <= {known.hours if known else None}, path


@pytest.mark.parametrize("path", [path for _, path in RECIPES], ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_headers_have_one_form(path):
    """Command, hardware, expected. A header may leave them out if another recipe of its scale explains them."""
    told = fields(header(path))
    assert list(told) in ([], ["command", "hardware", "expected"])
    assert told or path.parent.name.startswith(("ambiguities", "demo", "europarl", "multi30k"))
    words = [command for command in told.get("command", "").split(" or ") if command.startswith("python -m papers.")]
    assert all("--score" in command.split() for command in words), "the command shall lead to the expected score"
    assert not told or any(path.stem in command for command in words)
    assert not re.search(r"^# (command|hardware|hours|expected)\b:", header(path), re.IGNORECASE | re.MULTILINE)


def test_recipes_of_the_papers_own_size_are_found():
    """Five rows of Bahdanau 2014, and of Vaswani 2017 four of Table 2 and the twenty of Table 3."""
    assert {paper for paper, _ in OWN} == set(PAPERS) and len(OWN) >= 29


@pytest.mark.parametrize(
    ("paper", "path"), RECIPES, ids=[str(path.relative_to(ROOT / "papers").with_suffix("")) for _, path in RECIPES]
)
def test_headers_show_no_score_that_nobody_printed(paper, path):
    assert unheld(header(path), printed(paper)) == [], path


FIELD = re.compile(
    r"(?<![\w./{])(data|text|batch|train|decode|evaluate|run|estimate|model|optimizer)\.([a-zA-Z_]\w*)(?![\w(/])"
)
ENDINGS = {"py", "json", "en", "fr", "mrg", "tok", "safetensors", "lengths"}
"""After `train.` and the like these make the name of a file."""


def named_fields() -> Iterator[tuple[str, str]]:
    """Yield where a field is named in prose, in a YAML comment or in a string of the code, and its dotted name.

    Notebooks are left out: `batch` and `model` are objects there.
    """
    texts: dict[Path, str] = {path: path.read_text(encoding="utf-8") for path in [*PAGES, ROOT / "CONTRIBUTING.md"]}
    for path in ROOT.glob("papers/*/recipes/**/*.yaml"):
        texts[path] = "\n".join(re.findall(r"#.*", path.read_text(encoding="utf-8")))
    for path in {*ROOT.glob("common/**/*.py"), *ROOT.glob("papers/**/*.py")} - {*ROOT.glob("papers/*/notebook.py")}:
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        strings = (node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))
        texts[path] = "\n".join(strings)
    for path, text in texts.items():
        for match in FIELD.finditer(text):
            if match[2] not in ENDINGS and match[0] not in _MOVED:
                yield str(path.relative_to(ROOT)), match[0]


def test_fields_named_in_prose_are_fields_of_a_recipe() -> None:
    sections = [SECTIONS, *(paper.sections for paper in (*PAPERS.values(), STEPS))]
    known = {
        f"{name}.{item.name}" for named in sections for name, kind in named.items() for item in dataclasses.fields(kind)
    }
    named = list(named_fields())
    assert len(named) > 50
    assert [f"{where}: {field}" for where, field in named if field not in known] == []
