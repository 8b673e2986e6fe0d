"""Where the numbers of a run are from: a card that opens from each of them in the HTML report."""

from __future__ import annotations

import datetime
import html
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from common.report.results import Result
from common.report.tables import number, score

_CHECKOUT = Path(__file__).resolve().parents[2]
HYPOTHESES = 10
"""Translations of the test set that a card shows. The result has all."""


def identifier(run: Result) -> str:
    """Return the name of a run's card in links."""
    return re.sub(r"[^\w-]", "-", f"run-{run.file.paper}-{run.label}")


def button(run: Result, shown: str) -> str:
    """Return HTML that opens the run's card. shown: HTML."""
    return f'<button type="button" class="run" popovertarget="{identifier(run)}">{shown}</button>'


def card(run: Result, folder: Path) -> str:
    """Return the card of a run. folder: where the page will be, from which links to files lead."""
    rows = {
        "recipe": f"<code>{html.escape(run.name)}</code>, SHA-256 <code>{run.file.recipe_sha256}</code>"
        + _details("every field", f"<pre>{html.escape(_yaml(_anywhere(run.file.resolved_recipe)))}</pre>"),
        "commit": _commits(run),
        "seed": str(run.seed) + _seeds(run),
        "training": _training(run),
        "decoded": html.escape(_decoded(run)),
        "data": _data(run),
        "scores": _scores(run),
        "files": _files(run, folder),
        "hypotheses": _hypotheses(run),
    }
    entries = "\n".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in rows.items() if text)
    name = identifier(run)
    return (
        f'<div popover id="{name}" aria-label="{html.escape(run.title)}">\n'
        f'<button type="button" class="close" popovertarget="{name}" popovertargetaction="hide">close</button>\n'
        f"<h4>{html.escape(f'{run.title}, {run.pair}')}</h4>\n<dl>\n{entries}\n</dl>\n</div>"
    )


def _details(title: str, body: str) -> str:
    """Return what shows when its title is clicked."""
    return f"<details><summary>{html.escape(title)}</summary>{body}</details>"


def _yaml(values: Any) -> str:
    """Return plain values as YAML."""
    return str(yaml.safe_dump(values, sort_keys=False, allow_unicode=True))


def _anywhere(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return a resolved recipe without the folder in which this machine has the corpus."""
    return {**recipe, "data": {**recipe["data"], "corpus": Path(recipe["data"]["corpus"]).name}}


def _commits(run: Result) -> str:
    """Return the commits that trained and, if it is another, scored."""
    training, scoring = run.file.training, (run.file.commit, run.file.dirty)
    trained = scoring if training.commit == "" else (training.commit, bool(training.dirty))
    shown = _commit(*trained)
    return shown if trained == scoring else f"{shown}<br>scored by {_commit(*scoring)}"


def _commit(commit: str | None, dirty: bool) -> str:
    """Return a commit, and whether tracked files differed from it."""
    return f"<code>{html.escape(commit or 'none')}</code>{', with changes that were not committed' if dirty else ''}"


def _seeds(run: Result) -> str:
    """Return buttons for the trainings with other seeds."""
    return "; others: " + ", ".join(button(one, str(one.seed)) for one in run.others) if run.others else ""


def _training(run: Result) -> str:
    """Return updates, time and machine."""
    training, environment = run.file.training, run.environment
    time = datetime.timedelta(seconds=round(run.seconds))
    count = len(training.starts or ())
    starts = f", in {count} starts" if count > 1 else ""
    facts = [
        f"{run.updates} in {time} (h:m:s){starts}",
        f"{run.hardware}, {run.threads}, {environment.platform}",
        f"PyTorch {environment.torch}, Python {environment.python}",
        f"ended {training.finished}" if training.finished else "not ended",
        f"{run.parameters:,} parameters" if run.parameters else "",
    ]
    return "<br>".join(html.escape(fact) for fact in facts if fact)


def _decoded(run: Result) -> str:
    """Return which checkpoints were decoded."""
    steps = run.file.weights.steps
    shown = ", ".join(f"{step:,}" for step in steps)
    return f"the mean of the checkpoints at {shown}" if len(steps) > 1 else f"the checkpoint at {shown}"


def _data(run: Result) -> str:
    """Return the corpus, and the hashes of the text as prepared and as it came."""
    shown, data = html.escape(run.corpus), run.file.data
    if run.file.training.data_sha256:
        shown += f"; prepared: SHA-256 <code>{run.file.training.data_sha256}</code>"
    if files := data.get("inputs"):
        shown += _details(f"{len(files)} files that it was made from", f"<pre>{html.escape(_yaml(dict(files)))}</pre>")
    return shown


def _scores(run: Result) -> str:
    """Return a paragraph for each score, with the metric's signature."""
    shown = []
    for test_set, scored in run.file.sets.items():
        for name in scored.columns:
            column = run.column(name, test_set)
            assert column is not None, "it is one of the result's"
            where = html.escape(f"{test_set}, {name}, {column.sentences:,} sentences")
            facts = [
                column.signature,
                column.detail,
                f"sacreBLEU {number(column.sacrebleu)}, {column.sacrebleu_signature}",
            ]
            more = "<br>".join(html.escape(fact) for fact in facts if fact)
            shown.append(f"<p>{where}: <b>{score(column.bleu, column.interval)}</b><br><small>{more}</small></p>")
    return "".join(shown)


def _files(run: Result, folder: Path) -> str:
    """Return links to the result and to the files beside it that exist. They lead there while the page is in place."""
    logs = [run.path.with_name(name) for name in ("log.jsonl", "output.txt")]
    paths = [run.path, run.beside("attention"), run.beside("analysis"), *logs]
    links = (
        f'<a href="{html.escape(os.path.relpath(path, folder))}">{html.escape(_place(path, folder))}</a>'
        for path in paths
        if path.is_file()
    )
    log = "" if logs[0].is_file() else "<br>The training's log is not here. The result keeps its development curve."
    return "<br>".join(links) + log


def _place(path: Path, folder: Path) -> str:
    """Return where a file is: within the checkout or, if it is not there, as seen from `folder`."""
    inside = path.resolve().is_relative_to(_CHECKOUT)
    return os.path.relpath(path.resolve(), _CHECKOUT if inside else folder.resolve())


def _hypotheses(run: Result) -> str:
    """Return the first translations of the test set."""
    lines = run.all.hypotheses
    shown = "".join(f"<li>{html.escape(line)}</li>" for line in lines[:HYPOTHESES])
    where = f"sets.{run.test_set}.columns.all.hypotheses"
    title = f"the first {min(HYPOTHESES, len(lines))} of {len(lines):,} of {run.test_set}"
    return _details(title, f"<ol>{shown}</ol><p>All are in the result: <code>{html.escape(where)}</code></p>")
