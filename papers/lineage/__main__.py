"""`python -m papers.lineage tables` builds the page of both papers on the same text, `report` a scale's HTML report.

`readme` builds what is drawn from all scales: the README's results, the verdicts in the papers' reproducibility.md, and
the page of every score.
"""

from __future__ import annotations

import sys
from pathlib import Path

from common.files import write_whole
from common.run.cli import Parser, guarded, utf8_output
from papers.lineage import PAPERS, cells, front, report
from papers.lineage.deletion import SCALE as DELETION
from papers.lineage.pages import build_page


def main(arguments: list[str] | None = None) -> int:
    """Build and print the page of one scale, or write its report, or what is drawn from all scales.

    Return the exit status as common.run.cli does.
    """
    utf8_output()
    parser = Parser(prog="python -m papers.lineage", description="What needs both papers.")
    parser.add_argument("verb", choices=["tables", "report", "readme"])
    both = sorted(set.intersection(*(set(paper.scales) for paper in PAPERS.values())))
    parser.add_argument("--scale", choices=[*both, DELETION], help=f"default: demo; {DELETION} has tables only")
    parser.add_argument(
        "--runs", type=Path, help="folder of finished runs, as in reproduce.sh (default: the committed results)"
    )
    options = parser.parse_args(arguments)
    if options.verb == "readme":
        if options.scale or options.runs:
            parser.error("readme takes no --scale and no --runs: it shows the committed results of its own scales")
        return guarded(write_all, parser.prog)
    if options.verb == "report" and options.scale == DELETION:
        parser.error(f"{DELETION} has no report; its page: python -m papers.lineage tables --scale {DELETION}")
    work = {"tables": tables, "report": write_report}[options.verb]
    return guarded(lambda: work(options.scale or "demo", options.runs), parser.prog)


def tables(scale: str, runs: Path | None) -> None:
    """Print the page, and write it to RUNS/SCALE/lineage or to the committed results."""
    out = runs / scale / "lineage" if runs else Path(__file__).parent / "results" / scale
    print(build_page(scale, runs, out).markdown)
    print(f"written to {out}", file=sys.stderr)


def write_report(scale: str, runs: Path | None) -> None:
    """Write the report to RUNS/SCALE/report.html, or that of the committed results to runs/committed/SCALE.html."""
    path = runs / scale / "report.html" if runs else Path("runs") / "committed" / f"{scale}.html"
    print(report.write(list(PAPERS.values()), scale, runs, path))


def write_all() -> None:
    """Write what is drawn from the committed results of all scales."""
    for page, block in front.blocks().items():
        front.write(page, block())
    write_whole(cells.PAGE, cells.page())


if __name__ == "__main__":
    sys.exit(main())
