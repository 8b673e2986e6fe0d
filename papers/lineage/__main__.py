"""`python -m papers.lineage tables` builds the page of both papers on the same text, `readme` the README's results."""

from __future__ import annotations

import sys
from pathlib import Path

from common.recipe import SCALES
from common.run.cli import Parser, guarded, utf8_output
from papers.lineage import front
from papers.lineage.deletion import SCALE as DELETION
from papers.lineage.pages import build_page


def main(arguments: list[str] | None = None) -> int:
    """Build and print the page of one scale, or write the README's results.

    Return the exit status as common.run.cli does.
    """
    utf8_output()
    parser = Parser(prog="python -m papers.lineage", description="What needs both papers.")
    parser.add_argument("verb", choices=["tables", "readme"])
    parser.add_argument("--scale", choices=[*SCALES, DELETION], help="default: demo")
    parser.add_argument(
        "--runs", type=Path, help="folder of finished runs, as in reproduce.sh (default: the committed results)"
    )
    options = parser.parse_args(arguments)
    if options.verb == "readme":
        if options.scale or options.runs:
            parser.error("readme takes no --scale and no --runs: it shows the committed results of its own scales")
        return guarded(lambda: front.write(Path(__file__).parents[2] / "README.md"), parser.prog)
    return guarded(lambda: tables(options.scale or "demo", options.runs), parser.prog)


def tables(scale: str, runs: Path | None) -> None:
    """Print the page, and write it to RUNS/SCALE/lineage or to the committed results."""
    out = runs / scale / "lineage" if runs else Path(__file__).parent / "results" / scale
    print(build_page(scale, runs, out).markdown)
    print(f"written to {out}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
