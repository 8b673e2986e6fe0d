"""A paper's page at one scale: its markdown, figures and claims, on disk and in one HTML file."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Drawing

from common.files import write_json, write_whole
from common.report.claims import Outcome

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#8C6D31")
"""The palette of Okabe and Ito, whose colours colour-blind readers can tell apart. Its yellow is too pale for lines and
is left out."""


@dataclass(frozen=True)
class Figure:
    """A drawing, with the number that the figure has in the paper."""

    name: str
    """File name without .png."""
    title: str
    caption: str
    png: bytes


@dataclass(frozen=True)
class Section:
    """All that is shown of one paper at one scale. `markdown` refers to the figures as figures/NAME.png."""

    title: str
    markdown: str
    figures: Sequence[Figure]
    claims: Sequence[Outcome]
    notes: Sequence[str]


def figure_block(figure: Figure) -> str:
    """Return a figure as markdown: heading, picture, caption."""
    return f"## {figure.title}\n\n![{figure.title}](figures/{figure.name}.png)\n\n{figure.caption}"


def png(drawing: Drawing) -> bytes:
    """Return the drawing as PNG. The same drawing gives the same bytes with the same versions."""
    FigureCanvasAgg(drawing)
    buffer = io.BytesIO()
    # Without `Software`, which would name the version of Matplotlib and change the bytes.
    drawing.savefig(buffer, format="png", dpi=144, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def write_section(section: Section, out: Path) -> None:
    """Write OUT/tables.md, OUT/figures/*.png and OUT/claims.json."""
    write_whole(out / "tables.md", section.markdown + "\n")
    for figure in section.figures:
        write_whole(out / "figures" / f"{figure.name}.png", figure.png)
    write_json(out / "claims.json", [claim_record(outcome) for outcome in section.claims])


def claim_record(outcome: Outcome) -> dict[str, Any]:
    """Return a claim and its verdict as plain values."""
    claim = outcome.claim
    return {
        "id": claim.id,
        "statement": claim.statement,
        "source": claim.source,
        "criterion": claim.criterion,
        "systems": list(claim.systems),
        "verdict": outcome.verdict,
        "evidence": outcome.evidence,
        # Six decimals, because the last digits of a sum differ between processors and the file is compared by a test.
        "difference": {key: round(value, 6) for key, value in asdict(outcome.difference).items()}
        if outcome.difference
        else None,
    }


def write_report(title: str, sections: Sequence[Section], path: Path) -> None:
    """Write one HTML file that needs no other file: it contains the styles and the pictures."""
    bodies = "\n".join(f"<section>\n{section_html(section)}</section>" for section in sections)
    page = _PAGE.format(title=html.escape(title), style=_STYLE, bodies=bodies)
    write_whole(path, page)


def section_html(section: Section) -> str:
    """Return the section's markdown as HTML, with its pictures inside and its wide tables scrollable."""
    pictures = {f"figures/{figure.name}.png": base64.b64encode(figure.png).decode() for figure in section.figures}
    # Without HTML: a translation is free text and must not become markup.
    tokens = (parser := MarkdownIt("commonmark", {"html": False}).enable("table")).parse(section.markdown)
    for token in tokens:
        for child in token.children or []:
            if child.type == "image" and child.attrs["src"] in pictures:
                child.attrs["src"] = f"data:image/png;base64,{pictures[str(child.attrs['src'])]}"
    text = str(parser.renderer.render(tokens, parser.options, {}))
    return text.replace("<table>", '<div class="wide"><table>').replace("</table>", "</table></div>")


_STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --paper: #fdfdfb; --line: #cfcfc8; --soft: #f1f1ec; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e4e0; --paper: #17181a; --line: #43454a; --soft: #222427; } }
body { margin: 0 auto; padding: 2rem 1.25rem 5rem; max-width: 78rem; color: var(--ink); background: var(--paper);
       font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 3rem 0 1rem; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .75rem; border-bottom: 1px solid var(--line); padding-bottom: .25rem; }
h3 { font-size: 1.05rem; margin: 2rem 0 .5rem; }
header h1 { font-size: 1.9rem; margin-top: 0; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { background: var(--soft); }
th, td:not(:last-child) { white-space: nowrap; }
tbody tr:hover { background: var(--soft); }
code { font-size: .85em; background: var(--soft); padding: .1em .3em; border-radius: 3px; overflow-wrap: anywhere; }
img { max-width: 100%; background: #fff; border: 1px solid var(--line); border-radius: 4px; }
li { font-size: .9rem; }
blockquote { margin: .75rem 0; padding: 0 1rem; border-left: 3px solid var(--line); }
"""
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header><h1>{title}</h1></header>
{bodies}
</body>
</html>
"""
