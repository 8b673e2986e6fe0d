"""A parser's test set: linearised trees made whole, scored as EVALB does, beside trees that only branch to the right.

EVALB finds punctuation by its tag and leaves out a sentence in which the two trees differ on it. A parser that tags the
words itself would gain by that. So its brackets are scored over the gold tags, as is usual, and its tags by themselves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from common.errors import UserError
from common.score.brackets import COLLINS, Counts, count, f1
from common.trees.linear import restore
from common.trees.tree import Tree, right_branching

SIGNATURE = "EVALB rules, COLLINS.prm, gold tags"
"""Every choice that changes the scores, in short."""


@dataclass(frozen=True, kw_only=True)
class Bracketing:
    """What EVALB counts of a test set: matched, gold and test brackets of each sentence, as text `3 4 5`."""

    labelled: tuple[str, ...]
    unlabelled: tuple[str, ...]
    """The same, whatever the labels are."""

    def __post_init__(self) -> None:
        numbers = [row.split() for row in (*self.labelled, *self.unlabelled)]
        three = all(len(row) == 3 and all(map(str.isdigit, row)) for row in numbers)
        if not three or len(self.labelled) != len(self.unlabelled):
            raise UserError("the rows are not three counts of each sentence")

    @classmethod
    def of(cls, gold: Sequence[Tree], test: Sequence[Tree]) -> Bracketing:
        """Compare trees over the same tags and words."""
        labelled, unlabelled = (
            [count([one], [other], parameters) for one, other in zip(gold, test, strict=True)]
            for parameters in (COLLINS, replace(COLLINS, labelled=False))
        )
        return cls(labelled=_rows(labelled), unlabelled=_rows(unlabelled))

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """Matched, gold and test brackets by sentence, labelled, (sentences, 3)."""
        return _numbers(self.labelled)

    @property
    def unlabelled_counts(self) -> npt.NDArray[np.int64]:
        """The same of brackets without labels."""
        return _numbers(self.unlabelled)


def _rows(counts: Sequence[Counts]) -> tuple[str, ...]:
    return tuple(f"{one.matched} {one.gold} {one.test}" for one in counts)


def _numbers(rows: Sequence[str]) -> npt.NDArray[np.int64]:
    return np.array([row.split() for row in rows], dtype=np.int64).reshape(-1, 3)


@dataclass(frozen=True, kw_only=True)
class Parses:
    """The scores of a test set's parses, as a result keeps them."""

    signature: str
    parser: Bracketing
    right_branching: Bracketing
    ill_formed: int
    """Sentences whose output was no tree over their words and was repaired."""
    faults: dict[str, int]
    """Places that were repaired, by fault (`common.trees.linear.restore`)."""
    tags_right: int
    """Words that the parser tagged as the gold tree does."""
    words: int
    refused: int
    """Sentences that EVALB would leave out if the parser's own tags stayed."""

    @property
    def summary(self) -> str:
        """F1 and what was repaired, in one line."""
        sentences = len(self.parser.labelled)
        return f"F1 {f1(self.parser.counts):.2f}, {self.ill_formed} of {sentences} outputs repaired"


def gold_trees(sentences: Sequence[str], brackets: Sequence[str], name: str) -> Iterator[Tree]:
    """Yield the trees that the target side `brackets` of a set holds. Raises UserError for a line that is no tree."""
    for number, (sentence, symbols) in enumerate(zip(sentences, brackets, strict=True), start=1):
        tree, faults = restore(symbols.split(), sentence.split())
        if faults:
            found = ", ".join(faults)
            raise UserError(
                f"{name}: line {number:,} is no tree over its words ({found}); take both sides of a treebank"
            )
        yield tree


def score_parses(
    sentences: Sequence[str], brackets: Sequence[str], outputs: Sequence[str], phrases: Collection[str], name: str
) -> Parses:
    """Score a parser's `outputs` for a set with source `sentences` and target `brackets`.

    phrases: as in `restore`. name: of the set, for messages. Raises UserError as `gold_trees`.
    """
    gold = [*gold_trees(sentences, brackets, name)]
    found = [restore(output.split(), one.words, phrases) for one, output in zip(gold, outputs, strict=True)]
    trees = [tree for tree, _ in found]
    pairs = [*zip(gold, trees, strict=True)]
    leaves = [both for one, tree in pairs for both in zip(one.leaves, tree.leaves, strict=True)]
    return Parses(
        signature=SIGNATURE,
        parser=Bracketing.of(gold, [retagged(tree, one) for one, tree in pairs]),
        right_branching=Bracketing.of(gold, [right_branching(one.leaves) for one in gold]),
        ill_formed=sum(bool(faults) for _, faults in found),
        faults=dict(sorted(sum((faults for _, faults in found), Counter[str]()).items())),
        tags_right=sum(one.label == other.label for one, other in leaves),
        words=len(leaves),
        refused=sum(count([one], [tree]).status == "error" for one, tree in pairs),
    )


def retagged(tree: Tree, gold: Tree) -> Tree:
    """Return the tree with the tags of another one over the same words."""
    leaves = iter(gold.leaves)
    levels: list[list[Tree]] = [[]]
    for node, opens in tree.visits():
        if not node.children:
            levels[-1].append(next(leaves))
        elif opens:
            levels.append([])
        else:
            parts = levels.pop()
            levels[-1].append(Tree(node.label, tuple(parts)))
    return levels[0][0]
