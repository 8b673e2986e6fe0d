"""A tree as one line of symbols and back, as the Transformer's authors wrote it (tensor2tensor, wsj_parsing.py).

A phrase is its label, its parts, and `/` with its label again; a pre-terminal is its tag alone (after Vinyals et al.
2014, who have no tags). Words are not written: they are the source sentence.

    (S (NP (DT the) (NN cat)) (VP (VBZ sleeps)))  <->  the cat sleeps  +  S NP DT NN /NP VP VBZ /VP /S
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence

from common.trees.tree import Tree, treebank

NO_TAG = "XX"
"""Tag of a word that has none."""
NO_ROOT = "S"
"""Label that is put over several trees."""


def linearise(tree: Tree) -> list[str]:
    """Return the symbols of a tree."""
    return [node.label if opens else f"/{node.label}" for node, opens in tree.visits()]


def restore(symbols: Iterable[str], words: Sequence[str], phrases: Collection[str] = ()) -> tuple[Tree, Counter[str]]:
    """Return the tree of `symbols` over `words`, at least one, and what had to be repaired: number of places by fault.

    For the symbols of a tree whose tags are no labels of phrases and begin with no `/`, that is the tree itself and no
    fault.
    phrases: labels that are known to be of phrases, so that one that is never closed is not taken for a tag. Such a
    phrase ends with the phrase around it. The faults, and how each is repaired:

    `unopened`: the end of a phrase that was not begun is left out. `unclosed`: see above. `empty`: a phrase without a
    part is left out. `tags left`: a tag beyond the last word is left out. `words left`: words without a tag become last
    parts of the tree, as `XX`. `several roots`: several trees become parts of one `S`.
    """
    faults: Counter[str] = Counter()
    items: list[str | Tree] = []
    for symbol in symbols:
        label = symbol[1:]
        if not symbol.startswith("/") or not label:
            items.append(symbol)
            continue
        start = next((i for i in range(len(items) - 1, -1, -1) if items[i] == label), None)
        if start is None:
            faults["unopened"] += 1
            continue
        parts = _parts(items[start + 1 :], phrases, faults)
        items[start:] = [Tree(label, tuple(parts))] if parts else []
        faults["empty"] += not parts
    left = list(words)
    trees = _over(_parts(items, phrases, faults), left, faults)
    faults["words left"] += len(left)
    without = [Tree(NO_TAG, word=word) for word in left]
    if len(trees) == 1 and trees[0].children:
        tree = Tree(trees[0].label, (*trees[0].children, *without))
    elif len(trees) == 1 and not without:
        tree = trees[0]
    else:
        faults["several roots"] += len(trees) > 1
        tree = Tree(NO_ROOT, (*trees, *without))
    return tree, +faults


def bracket_labels(symbols: Iterable[str]) -> frozenset[str]:
    """Return the labels that end phrases among the symbols, for `restore`."""
    return frozenset(symbol[1:] for symbol in symbols if symbol.startswith("/") and symbol[1:])


def _parts(items: Sequence[str | Tree], phrases: Collection[str], faults: Counter[str]) -> list[Tree]:
    """Return a phrase's parts. Symbols are tags, or phrases that were not closed: those hold all that follows."""
    parts: list[Tree] = []
    for item in reversed(items):
        if isinstance(item, str) and item in phrases:
            faults["unclosed" if parts else "empty"] += 1
            parts = [Tree(item, tuple(reversed(parts)))] if parts else []
        else:
            parts.append(Tree(item) if isinstance(item, str) else item)
    return parts[::-1]


def _over(trees: Iterable[Tree], words: list[str], faults: Counter[str]) -> list[Tree]:
    """Return the trees with words under their tags. The words that are used are taken out of `words`."""
    levels: list[list[Tree]] = [[]]
    for tree in trees:
        for node, opens in tree.visits():
            if not node.children and words:
                levels[-1].append(Tree(node.label, word=words.pop(0)))
            elif not node.children:
                faults["tags left"] += 1
            elif opens:
                levels.append([])
            elif parts := levels.pop():
                levels[-1].append(Tree(node.label, tuple(parts)))
    return levels[0]


TREEBANK = re.compile(r"(.+?\.(?:mrg|tree)(?:\.(?:gz|xz|bz2))?)(?: (words|brackets))?", re.IGNORECASE | re.DOTALL)
"""Name of a file of trees, which a space and one of its VIEWS may follow."""
VIEWS: dict[str, Callable[[Tree], list[str]]] = {"words": lambda tree: tree.words, "brackets": linearise}
"""The two sides of a parallel text that a treebank is: what is read, and what is written."""


def view_lines(text: str, name: str, view: str) -> list[str]:
    """Return one side of a treebank's file, a line for each tree. Raises UserError as `read_trees`."""
    return [" ".join(VIEWS[view](tree)) for tree in treebank(text, name)]
