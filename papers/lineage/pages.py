"""Which page of both papers together a scale has."""

from __future__ import annotations

from pathlib import Path

from common.report.page import Section
from papers.lineage import equal_cost, same_data


def build_page(scale: str, runs: Path | None, out: Path) -> Section:
    """Build the page of one scale, and write it to the folder `out`.

    runs: folder of finished runs, or None for the committed results.
    Raise UserError if one of the papers has no result.
    """
    build = equal_cost.build_tables if scale in equal_cost.SCALES else same_data.build_tables
    return build(same_data.folders(scale, runs), out)
