"""A paper's page at one scale: its markdown, figures and claims. `web.py` makes one HTML file of several."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

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
