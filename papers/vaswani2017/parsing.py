"""Vaswani2017 §6.3 "English Constituency Parsing": a trained parser at work. `table4.py` has its scores.

    python -m papers.vaswani2017.parsing RUN < sentences > trees    # one tokenised sentence a line

A parser is a translation model from words to a linearised tree (common/trees/linear.py). So it is prepared, trained,
averaged and scored as the others are (recipes/parsing). Here the symbols that it writes become trees again.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path

from common.corpus.lines import lines_as_they_come
from common.errors import UserError
from common.run.cli import Parser, guarded, utf8_output
from common.run.evaluate import translate_lines
from common.run.folder import LoadedRun, load_run
from common.trees.linear import bracket_labels, restore
from common.trees.tree import Tree
from papers.vaswani2017.paper import PAPER

ESCAPED = str.maketrans({"(": "-LRB-", ")": "-RRB-", "[": "-LSB-", "]": "-RSB-", "{": "-LCB-", "}": "-RCB-"})
"""Brackets as the Penn Treebank writes them, because its own are round."""
TOGETHER = 256
"""Sentences that are read before the first tree is written."""


def main(arguments: list[str] | None = None) -> int:
    """Parse standard input. Return the exit status as common.run.cli does."""
    utf8_output()
    parser = Parser(prog="python -m papers.vaswani2017.parsing", description="Parse sentences with a trained run.")
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run of recipes/parsing")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="such as decode.beam=1, run.device=cpu")
    options = parser.parse_intermixed_args(arguments)

    def work() -> None:
        run = load_run(PAPER, options.run, options.overrides)
        repaired = sentences = 0
        for tree, faults in parse(run, lines_as_they_come(sys.stdin.buffer, "standard input")):
            print(tree or "", flush=True)
            repaired, sentences = repaired + bool(faults), sentences + bool(tree)
        print(f"{options.run}: sentences: {sentences:,}; outputs repaired: {repaired:,}", file=sys.stderr)

    return guarded(work, parser.prog)


def parse(run: LoadedRun, lines: Iterable[str]) -> Iterator[tuple[Tree | None, Mapping[str, int]]]:
    """Yield the tree of each sentence, tokens joined by spaces, and what was repaired. An empty line has no tree.

    Raises UserError if the run is no parser.
    """
    if not run.recipe.evaluate.brackets:
        raise UserError(f"{run.path}: {run.recipe.name} is no parser (evaluate.brackets); use a run of recipes/parsing")
    phrases, stream = bracket_labels(run.text.target_vocabulary.words), iter(lines)
    while taken := [line.translate(ESCAPED).split() for line in islice(stream, TOGETHER)]:
        outputs = translate_lines(run, [" ".join(words) for words in taken], run.recipe.decode)
        for words, ids in zip(taken, outputs, strict=True):
            yield restore(run.text.target_tokens(ids), words, phrases) if words else (None, {})


if __name__ == "__main__":
    sys.exit(main())
