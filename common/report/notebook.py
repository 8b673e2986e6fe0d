"""What the notebooks show: equations with their code, checks, exercises, drawings, parts of the committed results."""

from __future__ import annotations

import ast
import inspect
import re
import tempfile
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from IPython.display import Image, Markdown, display
from matplotlib.figure import Figure as Drawing
from torch import Tensor

from common.markdown import table
from common.paper import Paper
from common.report.page import Figure, Section, png
from common.report.results import read_results


def code(*objects: Any) -> Markdown:
    """Return the source of functions and classes as it is in their files."""
    sources = (textwrap.dedent(inspect.getsource(item)).rstrip() for item in objects)
    return Markdown("```python\n" + "\n\n\n".join(sources) + "\n```")


def equations(item: Any, typeset: Mapping[str, str]) -> Markdown:
    """Return equations, each with the lines of an item's source that compute it.

    item: a function or class. typeset: LaTeX by the first words of the statement.
    Raises ValueError if no statement of the item begins with these words, or more than one.
    """
    source = textwrap.dedent(inspect.getsource(item))
    statements = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.stmt)]
    parts = []
    for words, latex in typeset.items():
        found = ["\n".join(source.splitlines()[node.lineno - 1 : node.end_lineno]) for node in statements]
        found = [textwrap.dedent(lines) for lines in found if lines.lstrip().startswith(words)]
        if len(found) != 1:
            raise ValueError(f"{item.__qualname__} has {len(found)} statements that begin with {words!r}")
        parts.append(f"$$ {latex.strip()} $$\n\n```python\n{found[0]}\n```")
    return Markdown("\n\n".join(parts))


def shapes(**tensors: Tensor) -> Markdown:
    """Return a table of tensors and their shapes. The names are those of the arguments."""
    rows = [[f"`{name}`", " × ".join(map(str, tensor.shape))] for name, tensor in tensors.items()]
    return Markdown(table(["tensor", "shape"], rows))


def check(holds: Any, what: str) -> None:
    """Assert that something holds, and say so. holds: a truth value or a tensor of one. what: a sentence."""
    assert bool(holds), f"This does not hold: {what}"
    display(Markdown(f"✓ {what}"))


def exercise(yours: Tensor | float | None, wanted: Tensor | float) -> None:
    """Say whether the reader's answer is the wanted one. It may be None, which means that there is none yet.

    Whole numbers (of an integer type) and truth values must be met exactly. Other numbers must agree to five digits,
    or, in a tensor, to the fifth digit of its largest number.
    """
    exact = not torch.as_tensor(wanted).is_floating_point()
    right = torch.as_tensor(wanted, dtype=torch.float64)
    near, small = (0.0, 0.0) if exact else (1e-4, 1e-5 * (float(right.abs().max()) or 1.0))
    if yours is None:
        verdict = "○ Not answered yet. Write your lines above and run the cell again."
    elif (mine := torch.as_tensor(yours, dtype=torch.float64)).shape != right.shape:
        verdict = f"✗ Not yet: your shape is {tuple(mine.shape)}, and {tuple(right.shape)} is wanted."
    elif torch.allclose(mine, right, rtol=near, atol=small):
        verdict = "✓ Right."
    else:
        verdict = f"✗ Not yet: the largest difference is {(mine - right).abs().max():.3g}."
    display(Markdown(verdict))


def drawn(drawing: Drawing, alt: str) -> Image:
    """Return a picture of the drawing. `alt` describes it for readers who cannot see it."""
    return Image(png(drawing), retina=True, alt=alt)


def picture(figure: Figure) -> Image:
    """Return the picture of a figure of the committed pages."""
    return Image(figure.png, retina=True, alt=figure.title)


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
        print("No results of this scale are committed yet.")
        return
    parts = [part for part in re.split(r"(?m)^## ", section.markdown) if part.startswith(headings)]
    for heading in headings:
        if not any(part.startswith(heading) for part in parts):
            print(f"The committed results have no {heading}.")
    pictures = {figure.name: picture(figure) for figure in section.figures}
    for part in parts:
        # `split` returns what its group matched too, so every second piece is the name of a picture.
        for index, piece in enumerate(re.split(r"!\[[^\]]*\]\(figures/([^)]+)\.png\)", f"### {part}")):
            display(pictures[piece] if index % 2 else Markdown(piece.strip()))
