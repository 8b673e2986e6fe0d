"""Labelled bracketing: precision, recall and F1 of parsed sentences, counted as EVALB counts (Sekine and Collins 1997).

The rules are those of the C program (2008): which brackets and words do not count is a matter of its parameter file,
and a sentence whose words differ in the two trees is an error and left out. Two things are not done here: the program
ends after MAX_ERROR errors, and its later versions mend quotes (QUOTE_LABEL).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from common.corpus.lines import read_lines, read_parallel
from common.errors import UserError
from common.trees.tree import Tree, read_trees


@dataclass(frozen=True)
class Parameters:
    """What a parameter file of EVALB says."""

    delete: tuple[str, ...] = ()
    """Labels that do not count: of phrases, whose parts stay, and of pre-terminals, which go with their words."""
    delete_for_length: tuple[str, ...] = ()
    """Pre-terminals that do not count in the length of a sentence."""
    equal_labels: tuple[tuple[str, str], ...] = ()
    """Pairs of labels that are the same."""
    equal_words: tuple[tuple[str, str], ...] = ()
    labelled: bool = True
    """Whether two brackets must have the same label to match."""
    cutoff: int = 40
    """Longest sentence of the second summary."""

    def same_label(self, one: str, other: str) -> bool:
        """Return whether two labels are the same."""
        return one == other or (one, other) in self.equal_labels or (other, one) in self.equal_labels

    def same_word(self, one: str, other: str) -> bool:
        """Return whether two words are the same."""
        return one == other or (one, other) in self.equal_words or (other, one) in self.equal_words

    def deletes(self, label: str) -> bool:
        """Return whether the brackets of a phrase with this label do not count."""
        return any(self.same_label(label, deleted) for deleted in self.delete)


COLLINS = Parameters(
    delete=("TOP", "-NONE-", ",", ":", "``", "''", "."),
    delete_for_length=("-NONE-",),
    equal_labels=(("ADVP", "PRT"),),
)
"""COLLINS.prm, by which parsers of the Penn Treebank are scored."""
SAMPLE = Parameters(
    delete=("TOP", "-NONE-", ",", ":", "``", "''"),
    delete_for_length=("-NONE-",),
    equal_labels=(("T", "TT"),),
    equal_words=(("This", "this"),),
)
"""sample.prm, for EVALB's own example."""


def read_parameters(path: Path) -> Parameters:
    """Read a parameter file of EVALB. Raises UserError naming the line that is none of its own."""
    lists: dict[str, list[str]] = {"DELETE_LABEL": [], "DELETE_LABEL_FOR_LENGTH": [], "EQ_LABEL": [], "EQ_WORD": []}
    numbers = {"LABELED": 1, "CUTOFF_LEN": 40, "DEBUG": 0, "MAX_ERROR": 10}
    for number, line in enumerate(read_lines(path), start=1):
        key, value = (*line.split(maxsplit=1), "", "")[:2]
        if line.startswith("#") or len(line.strip()) < 3:
            continue
        if key in lists and value.strip():
            lists[key].append(value.strip())
        elif key in numbers and re.fullmatch(r"\d+", value.strip()):
            numbers[key] = int(value)
        else:
            known = ", ".join([*lists, *numbers])
            raise UserError(f"{path}: line {number}: `{line.strip()}` is none of {known} with a value; correct it")
    return Parameters(
        delete=tuple(lists["DELETE_LABEL"]),
        delete_for_length=tuple(lists["DELETE_LABEL_FOR_LENGTH"]),
        equal_labels=tuple(_pair(value, path) for value in lists["EQ_LABEL"]),
        equal_words=tuple(_pair(value, path) for value in lists["EQ_WORD"]),
        labelled=numbers["LABELED"] != 0,
        cutoff=numbers["CUTOFF_LEN"],
    )


def _pair(value: str, path: Path) -> tuple[str, str]:
    words = value.split()
    if len(words) != 2:
        raise UserError(f"{path}: `{value}` is not a pair; write two that are the same")
    return words[0], words[1]


@dataclass(frozen=True)
class Counts:
    """What is counted of one sentence. All but the first two are 0 unless it is valid."""

    status: Literal["valid", "error", "skipped"]
    """`error`: the words of the two trees differ. `skipped`: nothing was parsed."""
    length: int
    """Words of the gold tree."""
    matched: int = 0
    """Brackets that are in both trees."""
    gold: int = 0
    test: int = 0
    crossing: int = 0
    """Brackets of the parsed tree that overlap one of the gold tree and do not lie inside it or around it."""
    words: int = 0
    """Words that count."""
    tags: int = 0
    """Words that have the right tag."""


@dataclass(frozen=True)
class _Bracket:
    """A phrase over words `start` to `end` - 1, deleted words not counted."""

    label: str
    start: int
    end: int

    def crosses(self, other: _Bracket) -> bool:
        return self.start < other.start < self.end < other.end or other.start < self.start < other.end < self.end


def _brackets(trees: Sequence[Tree], parameters: Parameters) -> tuple[list[Tree], list[_Bracket]]:
    """Return the words that count and the brackets that count, in the order in which they open."""
    leaves: list[Tree] = []
    found: list[_Bracket | None] = []
    opened: list[tuple[int, int]] = []  # place in `found`, first word
    for node, opens in (visit for tree in trees for visit in tree.visits()):
        if not node.children:
            if node.label not in parameters.delete:
                leaves.append(node)
        elif opens:
            opened.append((len(found), len(leaves)))
            found.append(None)
        else:
            place, start = opened.pop()
            label = re.split("[-=]", node.label, maxsplit=1)[0]  # also of `-NONE-`, as the program does
            if start < len(leaves) and not parameters.deletes(label):
                found[place] = _Bracket(label, start, len(leaves))
    return leaves, [bracket for bracket in found if bracket]


def count(gold: Sequence[Tree], test: Sequence[Tree], parameters: Parameters = COLLINS) -> Counts:
    """Compare a parsed sentence with the gold one. Each is usually one tree."""
    length = sum(leaf.label not in parameters.delete_for_length for tree in gold for leaf in tree.leaves)
    (words, brackets), (others, candidates) = (_brackets(trees, parameters) for trees in (gold, test))
    if not others:
        return Counts("skipped", length)
    if len(words) != len(others) or not all(
        parameters.same_word(one.word, other.word) for one, other in zip(words, others, strict=True)
    ):
        return Counts("error", length)
    left: list[_Bracket | None] = [*candidates]
    for bracket in brackets:
        for place, other in enumerate(left):
            if other and _match(bracket, other, parameters):
                left[place] = None
                break
    return Counts(
        status="valid",
        length=length,
        matched=left.count(None),
        gold=len(brackets),
        test=len(candidates),
        crossing=sum(any(one.crosses(other) for one in brackets) for other in candidates),
        words=len(words),
        tags=sum(parameters.same_label(a.label, b.label) for a, b in zip(words, others, strict=True)),
    )


def _match(one: _Bracket, other: _Bracket, parameters: Parameters) -> bool:
    same = (one.start, one.end) == (other.start, other.end)
    return same and (not parameters.labelled or parameters.same_label(one.label, other.label))


def count_files(gold: Path, test: Path, parameters: Parameters = COLLINS) -> list[Counts]:
    """Compare two files with a sentence on each line; an empty line is a sentence without a tree.

    Raises UserError for text that is not bracketed and for files of unequal length.
    """
    lines = read_parallel(gold, test)
    pairs = (
        [read_trees(line, str(path), number) for path, line in zip((gold, test), pair, strict=True)]
        for number, pair in enumerate(zip(*lines, strict=True), start=1)
    )
    return [count(one, other, parameters) for one, other in pairs]


@dataclass(frozen=True)
class Summary:
    """The end of EVALB's output. Shares are in percent, of valid sentences."""

    sentences: int
    errors: int
    skipped: int
    valid: int
    recall: float
    precision: float
    f1: float
    complete: float
    """Share of sentences with all brackets right and none too many."""
    average_crossing: float
    """Crossing brackets per sentence."""
    no_crossing: float
    two_or_less_crossing: float
    tagging: float
    """Share of words with the right tag."""


def summarise(counts: Iterable[Counts], longest: int | None = None) -> Summary:
    """Add up sentences of at most `longest` words, by default all."""
    chosen = [one for one in counts if longest is None or one.length <= longest]
    valid = [one for one in chosen if one.status == "valid"]
    matched, gold, test, words, tags = (
        sum(getattr(one, name) for one in valid) for name in ("matched", "gold", "test", "words", "tags")
    )

    def share(part: int) -> float:
        return 100 * part / max(1, len(valid))

    return Summary(
        sentences=len(chosen),
        errors=sum(one.status == "error" for one in chosen),
        skipped=sum(one.status == "skipped" for one in chosen),
        valid=len(valid),
        recall=100 * matched / max(1, gold),
        precision=100 * matched / max(1, test),
        f1=float(f1_of_sums(np.array([matched, gold, test]))),
        complete=share(sum(one.matched == one.gold == one.test for one in valid)),
        average_crossing=sum(one.crossing for one in valid) / max(1, len(valid)),
        no_crossing=share(sum(one.crossing == 0 for one in valid)),
        two_or_less_crossing=share(sum(one.crossing <= 2 for one in valid)),
        tagging=100 * tags / max(1, words),
    )


def f1(counts: npt.NDArray[np.int64]) -> float:
    """Return F1 x 100 of all sentences together. counts: matched, gold and test brackets by sentence, (.., 3)."""
    return float(f1_of_sums(counts.sum(axis=0)))


def f1_of_sums(sums: npt.NDArray[np.float64] | npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return F1 x 100 from sums of matched, gold and test brackets, (.., 3): twice the matched over all."""
    matched, gold, test = np.moveaxis(np.asarray(sums, dtype=np.float64), -1, 0)
    return np.asarray(200 * matched / np.maximum(gold + test, 1))
