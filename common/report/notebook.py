"""What the papers' notebooks show: source code, drawings and parts of the committed results."""

from __future__ import annotations

import inspect
import re
import tempfile
import textwrap
from pathlib import Path
from typing import Any

from IPython.display import Image, Markdown, display
from matplotlib.figure import Figure as Drawing

from common.paper import Paper
from common.report.page import Section, png
from common.report.results import read_results


def code(*objects: Any) -> Markdown:
    """Return the source of functions and classes as it is in their files."""
    sources = (textwrap.dedent(inspect.getsource(item)).rstrip() for item in objects)
    return Markdown("```python\n" + "\n\n\n".join(sources) + "\n```")


def drawn(drawing: Drawing, alt: str) -> Image:
    """Return a picture of the drawing. `alt` describes it for readers who cannot see it."""
    return Image(png(drawing), retina=True, alt=alt)


def committed(paper: Paper, scale: str) -> Section | None:
    """Build tables, figures and claims from papers/<paper>/results/<scale>.

    Return None if nothing is committed there.
    """
    folder = paper.root / "results" / scale
    if not read_results(folder):
        return None
    with tempfile.TemporaryDirectory() as out:
        section = paper.build_tables(scale, folder, Path(out))
    return section


def show(section: Section | None, *headings: str) -> None:
    """Display the parts of a section whose headings begin with one of `headings`, with their figures."""
    if section is None:
        print("No demo results are committed yet; ./reproduce.sh demo makes them.")
        return
    parts = [part for part in re.split(r"(?m)^## ", section.markdown) if part.startswith(headings)]
    if not parts:
        print(f"The committed results have no {' or '.join(headings)}.")
    pictures = {figure.name: Image(figure.png, retina=True, alt=figure.title) for figure in section.figures}
    for part in parts:
        # `split` returns what its group matched too, so every second piece is the name of a picture.
        for index, piece in enumerate(re.split(r"!\[[^\]]*\]\(figures/([^)]+)\.png\)", f"### {part}")):
            display(pictures[piece] if index % 2 else Markdown(piece.strip()))
