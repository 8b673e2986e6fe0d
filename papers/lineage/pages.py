"""Which page a scale has: of both papers together, or of the steps between them."""

from __future__ import annotations

from pathlib import Path

from common.report.page import Section
from papers.lineage import equal_cost, same_data
from papers.lineage.deletion import SCALE as DELETION
from papers.lineage.deletion.paper import PAPER as STEPS


def build_page(scale: str, runs: Path | None, out: Path) -> Section:
    """Build the page of one scale, and write it to the folder `out`.

    runs: folder of finished runs, or None for the committed results.
    Raise UserError if one of the papers has no result.
    """
    if scale == DELETION:
        results = runs / scale / STEPS.name if runs else STEPS.root / "results" / scale
        return STEPS.build_tables(scale, results, out)
    build = equal_cost.build_tables if scale in equal_cost.SCALES else same_data.build_tables
    return build(same_data.folders(scale, runs), out)
