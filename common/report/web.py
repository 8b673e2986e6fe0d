"""The report of a scale as one HTML file, which needs no other file and no network.

It begins with verdicts and contents. Each number of a run in a table opens a card that says where the number is from.
Without scripts only the attention of chosen sentences is missing.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from markdown_it import MarkdownIt
from markdown_it.token import Token

from common.errors import UserError
from common.files import check_writable, write_whole
from common.report import charts
from common.report.claims import Outcome
from common.report.page import Section
from common.report.provenance import button, card, identifier
from common.report.results import Result
from common.report.tables import numbers_of, rule, verdicts
from common.result import Example

_HERE = Path(__file__).parent
LONG, PHRASE = 50, 25
"""Characters above which the text of a cell is broken into lines: anywhere, and on a phone."""
_THEIRS = re.compile(r"\b(paper|paper's(, .*| recipe)?|theirs|there|printed)$")
"""Heading of a column of printed numbers."""
_TEXT = " <small>"
"""What parts a heading from the text that its table is of. In markdown that text is in brackets."""
_CLAIMS = re.compile(r"(?ms)^## Claims\n.*?(?=^## |\Z)")
"""The claims in a section's markdown. The report has them at its beginning."""


@dataclass(frozen=True)
class Chapter:
    """A section of the report with the runs behind it."""

    name: str
    """Identifier in links: `vaswani2017`."""
    section: Section
    results: Mapping[str, Result]
    """Runs by the names that the section's claims have for them."""
    labels: Mapping[str, str]
    """Names of runs in `results` by other labels that rows of tables begin with."""
    learning: bool = True
    """Whether curves and attention of these runs are shown here."""

    @property
    def runs(self) -> list[Result]:
        """All trainings, those with other seeds among them."""
        return [run for result in self.results.values() for run in result.trainings]


def write_report(title: str, overview: str, chapters: Sequence[Chapter], path: Path) -> None:
    """Write the report. overview: markdown that follows the verdicts; its tables are linked as the others."""
    runs = {identifier(run): run for chapter in chapters for run in chapter.runs}
    bodies = [_chapter(chapter) for chapter in chapters]
    beginning = Chapter("overview", Section(title, overview, [], [], []), dict(runs), {})
    counts = (f"{chapter.section.title}: {verdicts(chapter.section.claims)}" for chapter in chapters)
    gist = "".join(
        f'<li><a href="#verdicts">{html.escape(line)}</a></li>' for line in counts if not line.endswith(": ")
    )
    main = [
        '<section id="verdicts">\n<h2>Verdicts</h2>',
        *(_verdicts(chapter) for chapter in chapters if chapter.section.claims),
        "</section>",
        *([f'<section id="overview">\n{render(beginning)}</section>'] if overview else []),
        *(f'<section id="{chapter.name}">\n{body}</section>' for chapter, body in zip(chapters, bodies, strict=True)),
        f'<section id="runs">\n<h2>The runs</h2>\n{_runs(runs.values())}',
        *(card(run, path.parent) for run in runs.values()),
        "</section>",
    ]
    contents = [
        _contents("verdicts", "Verdicts"),
        *([_contents("overview", overview.partition("\n")[0].lstrip("# "))] if overview else []),
        *map(_headings, chapters, bodies),
        _contents("runs", "The runs"),
    ]
    nav = "\n".join(contents)
    _write_page(path, title, gist, f'<nav aria-label="Contents"><ul>\n{nav}\n</ul></nav>', "\n".join(main))


def check_page(path: Path) -> None:
    """Raise UserError now if a page could not be written there later, or would replace a file that is no such page."""
    check_writable(path)
    if path.exists() and _MADE.encode() not in path.read_bytes()[:1000]:
        raise UserError(f"{path}: is there and no page of attention, so it stays; name another file")


def write_attention(title: str, remarks: Sequence[str], examples: Sequence[Example], path: Path) -> None:
    """Write a page with the attention of sentences, which needs no other file. remarks: lines below the title."""
    gist = "".join(f"<li>{html.escape(remark)}</li>" for remark in remarks)
    _write_page(path, title, gist, "", _explorer({title: examples}, "Choose a sentence"))


def _write_page(path: Path, title: str, gist: str, nav: str, main: str) -> None:
    """Write a page with its styles and its script. gist, nav, main: HTML."""
    page = _PAGE.format(
        made=_MADE,
        title=html.escape(title),
        gist=gist,
        style=(_HERE / "web.css").read_text(encoding="utf-8"),
        script=(_HERE / "web.js").read_text(encoding="utf-8"),
        nav=nav,
        main=main,
    )
    write_whole(path, page)


def _chapter(chapter: Chapter) -> str:
    """Return a chapter: the section without its claims, then learning curves and attention of its runs."""
    parts = [render(chapter)]
    if chapter.learning:
        drawn = charts.learning_curves(chapter.runs)
        explorer = _explored(chapter.runs)
        parts += [f"{_heading(chapter, 'Learning curves, run by run')}\n{drawn}"] if drawn else []
        parts += [f"{_heading(chapter, 'Attention, sentence by sentence')}\n{explorer}"] if explorer else []
    return "\n".join(parts)


def _heading(chapter: Chapter, text: str) -> str:
    """Return a heading within a chapter, to which the contents link."""
    return f'<h3 id="{_slug(chapter.name, text)}">{html.escape(text)}</h3>'


def _slug(chapter: str, text: str) -> str:
    """Return the identifier of a heading, without the text in brackets."""
    return f"{chapter}-{re.sub('[^a-z0-9]+', '-', text.lower().partition(' (')[0]).strip('-')}"


def _contents(name: str, title: str, below: str = "") -> str:
    """Return an entry of the contents."""
    return f'<li><a href="#{name}">{html.escape(title)}</a>{below}</li>'


def _headings(chapter: Chapter, body: str) -> str:
    """Return the contents of a chapter."""
    found = re.findall(r'<h3 id="([^"]+)">(.*?)</h3>', body)
    # Without the text that a table is of, which is the same for all.
    entries = (f'<li><a href="#{name}">{text.partition(_TEXT)[0]}</a></li>' for name, text in found)
    return _contents(chapter.name, chapter.section.title, f"<ul>{''.join(entries)}</ul>")


# ----------------------------------------------------------------------------------------------------------------
# Markdown with numbers that name their run


def render(chapter: Chapter) -> str:
    """Return the section's markdown as HTML: pictures inside, wide tables scrollable, numbers linked to their run."""
    # Without HTML: a translation is free text and must not become markup.
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(_CLAIMS.sub("", chapter.section.markdown))
    pictures = {f"figures/{one.name}.png": base64.b64encode(one.png).decode() for one in chapter.section.figures}
    used: dict[str, int] = {}
    for token, inline in zip_longest(tokens, tokens[1:]):
        if token.type in ("heading_open", "heading_close"):  # the page itself has the first heading
            token.tag = f"h{int(token.tag[1]) + 1}"
        if token.type == "heading_open" and token.tag == "h3" and inline:
            name = _slug(chapter.name, inline.content)
            used[name] = used.get(name, 0) + 1
            token.attrs["id"] = name if used[name] == 1 else f"{name}-{used[name]}"
            title, _, text = inline.content.removesuffix(")").partition(" (")
            if text:
                inline.children = [
                    Token("html_inline", "", 0, content=f"{html.escape(title)}{_TEXT}{html.escape(text)}</small>")
                ]
        if token.type == "td_open" and inline and len(inline.content) > PHRASE:
            token.attrs["class"] = "long" if len(inline.content) > LONG else "phrase"
        for child in token.children or []:
            if child.type == "image" and child.attrs["src"] in pictures:
                child.attrs["src"] = f"data:image/png;base64,{pictures[str(child.attrs['src'])]}"
    tokens = list(_folded(tokens))
    for header, rows in _tables(tokens):
        for row in rows:
            _link(row, [cell.content for cell in header], chapter)
    text = str(parser.renderer.render(tokens, parser.options, {}))
    return text.replace("<table>", '<div class="wide"><table>').replace("</table>", "</table></div>")


def _folded(tokens: Sequence[Token]) -> Iterator[Token]:
    """Yield the tokens, with the lists of metrics and runs under tables folded. The cards have more of both."""
    folded = False
    for token, text in zip_longest(tokens, tokens[3:]):
        if token.type == "bullet_list_open" and text and text.content.startswith("BLEU: `"):
            folded = True
            yield Token("html_block", "", 0, content="<details><summary>metric and runs</summary>\n")
        yield token
        if folded and token.type == "bullet_list_close":
            folded = False
            yield Token("html_block", "", 0, content="</details>\n")


def _tables(tokens: Iterable[Token]) -> Iterator[tuple[list[Token], list[list[Token]]]]:
    """Yield the cells of each table: those of the heading, and those of each row."""
    rows: list[list[Token]] = []
    inside = False
    for token in tokens:
        if token.type == "tr_open":
            rows.append([])
        inside = (inside or token.type == "table_open") and token.type != "table_close"
        if inside and token.type == "inline":
            rows[-1].append(token)
        if token.type == "table_close":
            yield rows[0], rows[1:]
            rows = []


def _link(row: Sequence[Token], header: Sequence[str], chapter: Chapter) -> None:
    """Make buttons of the numbers in a row that are those of a run named in the row, and of the run's names.

    A cell may list numbers of several seeds. Columns of printed numbers are left alone.
    """
    behind = _behind([cell.content for cell in row], chapter)
    for heading, cell in zip(header, row, strict=True):
        if not behind or _THEIRS.search(heading):
            continue
        whole = _number(cell.content, behind)
        pieces = [whole] if whole else [_number(piece, behind) for piece in cell.content.split(", ")]
        if all(pieces):
            cell.children = [Token("html_inline", "", 0, content=", ".join(pieces))]
        for child in cell.children or []:
            named = [run for run in behind if child.type == "code_inline" and child.content in (run.name, run.label)]
            if named:
                child.type = "html_inline"
                child.content = button(named[0], f"<code>{html.escape(child.content)}</code>")


def _number(text: str, runs: Sequence[Result]) -> str:
    """Return the text as a button of the run whose number or title it is. Empty for none or several systems."""
    found = [run for run in runs if text == run.title or text in numbers_of(run)]
    return button(found[0], html.escape(text)) if len({run.system for run in found}) == 1 else ""


def _behind(cells: Sequence[str], chapter: Chapter) -> list[Result]:
    """Return the runs that a row of a table names: by recipe or system, or by title and languages."""
    codes = {code for cell in cells for code in re.findall("`([^`]+)`", cell)}
    if named := [run for run in chapter.runs if codes & {run.name, run.label}]:
        return named
    labelled = chapter.results.get(chapter.labels.get(cells[0], ""))
    titled = [run for run in chapter.runs if run.title == cells[0]] or list(labelled.trainings if labelled else ())
    return [run for run in titled if run.pair in cells] or titled


# ----------------------------------------------------------------------------------------------------------------
# Verdicts and runs


def _verdicts(chapter: Chapter) -> str:
    """Return the verdicts on a chapter's claims, with the runs that each rests on."""
    outcomes = chapter.section.claims
    decided = [outcome for outcome in outcomes if outcome.verdict != "not run"]
    others = [outcome for outcome in outcomes if outcome.verdict == "not run"]
    rows = "\n".join(_verdict(outcome, chapter.results) for outcome in decided)
    left = "".join(f"<li>{html.escape(one.claim.statement)}: {html.escape(one.evidence)}</li>" for one in others)
    parts = [f"<h4>{html.escape(chapter.section.title)}: {verdicts(outcomes)}</h4>"]
    if decided:
        parts.append(_table(("", "claim", "evidence here"), rows, "verdicts"))
        parts.append(f"<p><small>Unless its rule says otherwise, {rule(chapter.results)}</small></p>")
    if others:
        parts.append(f"<details><summary>{len(others)} not run here</summary><ul>{left}</ul></details>")
    return "\n".join(parts)


def _verdict(outcome: Outcome, results: Mapping[str, Result]) -> str:
    """Return the row of a claim."""
    claim = outcome.claim
    runs = " ".join(button(results[name], html.escape(results[name].title)) for name in claim.systems)
    where = html.escape(claim.source + (f"; printed: {claim.printed}" if claim.printed else ""))
    how = f"<details><summary>rule</summary>{html.escape(claim.criterion)}</details>" if claim.criterion else ""
    return (
        f'<tr><td><strong class="{outcome.verdict}">{outcome.verdict}</strong></td>'
        f"<td>{html.escape(claim.statement)}<br><small>{where}</small>{how}</td>"
        f'<td>{html.escape(outcome.evidence)}<br><small class="runs">{runs}</small></td></tr>'
    )


def _table(header: Sequence[str], rows: str, kind: str) -> str:
    """Return a table that scrolls inside itself. rows: HTML."""
    head = "".join(f"<th>{name}</th>" for name in header)
    table = f'<table class="{kind}"><thead><tr>{head}</tr></thead>\n<tbody>{rows}</tbody></table>'
    return f'<div class="wide">{table}</div>'


def _runs(runs: Iterable[Result]) -> str:
    """Return a table of all runs, each with a button for its card."""
    rows = []
    for run in runs:
        cells = [html.escape(str(text)) for text in (run.title, run.pair, run.updates, run.seed, run.hardware)]
        cells = [button(run, f"<code>{html.escape(run.label)}</code>"), *cells]
        rows.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    return _table(("run", "title", "languages", "updates", "seed", "hardware"), "\n".join(rows), "all")


# ----------------------------------------------------------------------------------------------------------------
# Attention


def _explorer(examples: Mapping[str, Sequence[Example]], choose: str) -> str:
    """Return the place that web.js fills with the attention of these examples, by run. choose: what to choose first."""
    data = [{"title": title, "examples": [_example(one) for one in kept]} for title, kept in examples.items()]
    # A token may be anything, `</script>` too.
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return (
        f"<p>{choose} and what looks at what; point at a word or a cell. Weights have two decimals, and each row sums "
        "to 1. Translations are the run's own.</p><noscript><p>This needs a script.</p></noscript>"
        f'<div class="explorer"><script type="application/json">{text}</script></div>'
    )


def _explored(runs: Sequence[Result]) -> str:
    """Return the attention of these runs, the best run first. Nothing without any."""
    shown = sorted((run for run in runs if run.attention), key=lambda run: -run.all.bleu)
    examples = {f"{run.label}: {run.title}, {run.pair}": run.attention for run in shown}
    return _explorer(examples, "Choose a run, a sentence") if shown else ""


def _example(example: Example) -> dict[str, Any]:
    """Return a sentence's attention for web.js: weights as (layers, heads, words that look, words looked at)."""
    maps = {}
    for name in example.maps:
        weights = example.weights(name)
        weights = weights.reshape((1,) * (4 - weights.ndim) + weights.shape)
        exact = np.rint(weights * 10_000).astype("<u2")  # four decimals, as new files have
        maps[name] = {"shape": weights.shape, "weights": base64.b64encode(exact.tobytes()).decode()}
    source, target = (list(map(html.unescape, tokens)) for tokens in (example.source, example.target))
    return {"line": example.line, "source": source, "target": target, "maps": maps}


_MADE = '<meta name="generator" content="attention">'
"""What says that a page was made here."""
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
{made}
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<header><h1>{title}</h1><ul>{gist}</ul></header>
{nav}
<main>
{main}
</main>
<script>
{script}</script>
</body>
</html>
"""
