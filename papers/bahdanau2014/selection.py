"""Data selection as in §4.1 on Europarl alone, and Axelrod et al. 2011's claim about it: a result of its own.

    python -m papers.bahdanau2014.selection measure    # prepares, and writes results/selection.json and selection.md
    python -m papers.bahdanau2014.selection page       # writes selection.md again from selection.json

Europarl v7 is cut to the 45% of Schwenk's `ep7_pc45`, with the test sets of 2008 to 2011 as in-domain text (D10). The
models, the random text and the criterion are those of every preparation that selects (common/prepare/selection_check).
`measure data.corpus=FILE` takes Europarl and the test sets from another declaration.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import write_json, write_whole
from common.prepare.manifest import SelectionCheck
from common.prepare.summary import selection_page
from common.result import Environment, read_typed
from common.run.cli import Parser, guarded, utf8_output
from common.run.folder import REPOSITORY, prepare_data
from common.run.record import commit, environment
from common.typed import checked, plain
from papers.bahdanau2014.paper import PAPER

RESULT = PAPER.root / "results" / "selection.json"
PAGE = RESULT.with_suffix(".md")
CURE = "get it from the repository again, or `measure`"
"""What a message advises if the result is damaged."""
IN_DOMAIN = "news-test2008, newstest2009, newstest2010, newstest2011"
OVERRIDES = (
    f"data.parts=[europarl-v7, {IN_DOMAIN}]",
    "data.shares=[0.45, 1, 1, 1, 1]",
    f"data.in_domain=[{IN_DOMAIN}]",
)
"""What differs from the recipe of RNNsearch-50: one corpus of five, and the in-domain text without News Commentary."""


def main(arguments: list[str] | None = None) -> int:
    """Measure, or write the page. Return the exit status as common.run.cli does."""
    utf8_output()
    parser = Parser(prog="python -m papers.bahdanau2014.selection", description="Data selection beside random text.")
    parser.add_argument("verb", choices=["measure", "page"])
    parser.add_argument("overrides", nargs="*", metavar="data.corpus=FILE", help="another declaration")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of downloads and prepared data")
    parser.add_argument("--workers", type=int, help="processes (default: the number of cores)")
    options = parser.parse_intermixed_args(arguments)

    def work() -> None:
        if options.verb == "measure":
            measure(options.overrides, options.runs, options.workers)
        elif options.overrides:
            raise UserError(f"{options.overrides[0]}: `page` takes no more words; it shows the result that is there")
        write_whole(PAGE, page(RESULT))
        print(f"written: {PAGE}", file=sys.stderr)

    return guarded(work, parser.prog)


def measure(overrides: Sequence[str], runs: Path, workers: int | None) -> None:
    """Prepare with the commit that is checked out, and write the result.

    overrides: words `data.corpus=FILE`. Raise UserError for any other, if there are uncommitted changes, and if the
    corpus is too small for a selection to be checked.
    """
    if others := [word for word in overrides if not word.startswith("data.corpus=")]:
        raise UserError(f"{others[0]}: only data.corpus=FILE can be given; the page describes the other fields")
    origin = commit(REPOSITORY)
    if origin["dirty"]:
        raise UserError(f"{REPOSITORY}: tracked files differ from the commit that the result would name; commit them")
    # A folder for each commit: data that another one prepared would be taken as they are.
    prepared = prepare_data(PAPER.recipe("rnnsearch-50", [*OVERRIDES, *overrides]), runs / origin["commit"], workers)
    if prepared.facts.get("selection") is None:
        raise UserError(f"{prepared.directory}: its selection was not checked; give data.corpus a larger text")
    facts = {"environment": environment("cpu"), "data": prepared.facts, "steps": prepared.manifest.steps}
    write_json(RESULT, plain(facts | origin))


@dataclass(frozen=True, kw_only=True)
class Selected:
    """results/selection.json."""

    environment: Environment
    data: dict[str, Any]
    """The prepared corpus: its manifest."""
    steps: tuple[dict[str, Any], ...]
    """Time and memory of the steps of preparation."""
    commit: str
    dirty: bool

    def __post_init__(self) -> None:
        data = self.data.get("data")
        if not isinstance(data, dict) or not {"shares", "source", "target"} <= data.keys() or not data["shares"]:
            raise UserError("the prepared corpus has no shares and languages")
        if missing := {"title", "selection"} - self.data.keys():
            raise UserError(f"the prepared corpus has no `{min(missing)}`")
        if missing := {"select", "check selection"} - self.minutes.keys():
            raise UserError(f"`steps` has no `{min(missing)}`")

    @property
    def minutes(self) -> dict[str, float]:
        """Minutes of the steps, by name."""
        return {step.get("step", ""): step.get("seconds", 0) / 60 for step in self.steps}


def page(path: Path) -> str:
    """Return the page of a result as Markdown. Raise UserError if the file is missing or damaged."""
    result: Selected = read_typed(path, Selected, "selection", CURE)
    data, minutes = result.data, result.minutes
    try:
        check = checked(SelectionCheck, data["selection"], "selection", str(path))
    except UserError as error:
        raise UserError(f"{error}; {CURE}") from None
    lines = [
        "# Data selection beside random text",
        "",
        f"Europarl v7 from: {data['title']}. In-domain text: {IN_DOMAIN}. Share kept: {data['data']['shares'][0]:.0%}.",
        "",
        selection_page(check, data["data"]["source"], data["data"]["target"]),
        "",
        f"Made by commit {result.commit[:7]} on {result.environment.hardware}. The selection took "
        f"{minutes['select']:.1f} minutes, this check {minutes['check selection']:.1f}.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
