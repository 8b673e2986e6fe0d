"""Every committed score, with the command that trains for it again and how near another training comes.

`python -m papers.lineage readme` writes results/cells.md from the committed results.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import numpy as np

from common.markdown import table
from common.paper import Paper
from common.recipe import unlike
from common.report.claims import alike
from common.report.results import Result, read_results
from common.report.tables import score, updates
from common.score.brackets import f1, f1_of_sums
from common.score.seeds import Spread, mean_difference, pooled
from common.score.significance import bootstrap_interval
from common.yaml_files import is_path
from papers.lineage import PAPERS

PAGE = Path(__file__).parent / "results" / "cells.md"
"""The page."""
HEADER = ("training", "pair", "test set", "BLEU (95%)", "another seed", "updates", "h:m:s", "machine", "commit")
INTRODUCTION = """# Every committed score, and how to have it again

Below each table are the commands of its rows, one a line, in an order in which they can run. Add `--out RUNS/NAME
--score` to each, NAME as in the row: a recipe that continues another looks for that one's run beside its own. `diagnose
RUN` then says where the run parts from the committed one, and `tables` rebuilds the paper's tables from finished runs.

- **BLEU (95%)** is the recipe's first test set with all sentences. The interval is for the choice of sentences. A
  parser has F1 in its place, over all its test sets.
- **Another seed** is how far the BLEU of one more training may lie from the number here, in 95 of 100 cases. It comes
  from systems with several seeds, the same text and as many updates, pooled. Where every such system has one seed, it
  is not known, and the cell is empty. Expect as much of another kind of processor or another version of PyTorch: they
  round otherwise, and after some hundred updates this is as good as another seed. With the same versions, threads and
  kind of processor, a CPU's updates are equal to the bit.
- **h:m:s** is wall time of training. Each paper's `results/README.md` says what else the machine did.
- A command is of today's recipe. If a field that sets numbers had another value then, the line says so; check out the
  commit to have it as it was.
- `data.corpus=$PAPERS_MIRROR/wmt14-real/wmt14-real.yaml` is a half of Europarl v7, drawn session by session, with the
  papers' development and test sets. That half is not published. Leave the word out, and the recipe reads the official
  archives: the same test set, and the first pairs of all of Europarl v7 in place of those of the half.
"""


def page() -> str:
    """Return the page in markdown."""
    parts = [INTRODUCTION]
    for paper in PAPERS.values():
        folders = sorted((paper.root / "results").glob("*/"))
        scales = {folder.name: list(read_results(folder).values()) for folder in folders}
        systems = [result for results in scales.values() for result in results]
        for scale, results in scales.items():
            if runs := _in_order([run for result in results for run in result.trainings]):
                rows = [row(run, spread_of(run, systems)) for run in runs]
                parts += [
                    f"## {paper.name}, {scale}",
                    f"{runs[0].corpus}: [the tables](../../{paper.name}/results/{scale}/tables.md)",
                    table(HEADER, rows, right=(3, 4, 5, 6)),
                    "\n".join(["```bash", *(command(paper, run) for run in runs), "```"]),
                ]
    return "\n\n".join(parts) + "\n"


def _in_order(runs: list[Result]) -> list[Result]:
    """Return the trainings with each behind the one that it continues."""
    before = {run.system: run.recipe["train"]["continues"] for run in runs}

    def place(system: str | None) -> int:
        """Return how many trainings come before a system's."""
        return 1 + place(before.get(system)) if system else 0

    return sorted(runs, key=lambda run: place(run.system))


def row(run: Result, spread: Spread | None) -> list[str]:
    """Return the cells of a training. spread: of BLEU over seeds, on the training's text."""
    another = "" if spread is None else f"±{mean_difference([0.0], [0.0], spread).high:.2f}"
    scored = score(run.all.bleu, run.all.interval)
    tested = f"`{run.test_set}`"
    if parses := [scored.parses for scored in run.file.sets.values() if scored.parses]:
        counts = np.concatenate([one.parser.counts for one in parses])
        scored, another = f"F1 {score(f1(counts), bootstrap_interval(counts, f1_of_sums))}", ""
        tested = f"all {len(parses)}"
    spent = str(timedelta(seconds=round(run.seconds)))
    return [run.label, run.pair, tested, scored, another, updates(run), spent, run.hardware, run.commit]


def spread_of(run: Result, systems: Iterable[Result]) -> Spread | None:
    """Return the spread of BLEU over seeds, pooled over the systems of the same text and number of updates as `run`.

    Return None if none of them has two seeds.
    """
    like = [other for other in systems if alike(other) == alike(run)]
    return pooled([[training.all.bleu for training in other.trainings] for other in like])


def command(paper: Paper, run: Result) -> str:
    """Return the command that trains as `run` was, and in a comment what today's recipe has otherwise."""
    now = paper.recipe(run.name)
    overrides = [] if run.seed == now.train.seed else [f"train.seed={run.seed}"]
    if is_path(corpus := run.recipe["data"]["corpus"]):
        overrides.append(f"data.corpus=$PAPERS_MIRROR/{'/'.join(Path(corpus).parts[-2:])}")
    then = {key: ours for key, (ours, _) in unlike(run.recipe, now.to_dict()).items() if key != "data.corpus"}
    remark = f"  # then {', '.join(f'{key}={value}' for key, value in then.items())}" if then else ""
    return " ".join([f"python -m papers.{paper.name} train", run.name, *overrides]) + remark
