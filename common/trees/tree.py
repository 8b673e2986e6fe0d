"""Constituency trees in the Penn Treebank's bracketed form (`.mrg`, `.tree`), and what parsers learn of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from common.errors import UserError

TRACE = "-NONE-"
"""Tag of an empty element."""
OUTER = ("", "TOP", "ROOT")
"""Labels of a bracket around a whole tree, which is no phrase."""
DEEPEST = 250
"""Largest depth of a tree that is read. No sentence needs so much; a damaged file might."""

_ATOM = re.compile(r"[()]|[^\s()]+")


@dataclass(frozen=True)
class Tree:
    """A phrase with its parts, or a pre-terminal: a part-of-speech tag with its word."""

    label: str
    children: tuple[Tree, ...] = ()
    """Parts of a phrase, at least one. A pre-terminal has none."""
    word: str = ""
    """The word of a pre-terminal, without white space."""

    def visits(self) -> Iterator[tuple[Tree, bool]]:
        """Yield all nodes as they open (True), each phrase also as it closes (False), from left to right."""
        left = [(self, True)]
        while left:
            node, opens = left.pop()
            yield node, opens
            if opens and node.children:
                left.append((node, False))
                left += [(child, True) for child in reversed(node.children)]

    @property
    def leaves(self) -> list[Tree]:
        """The pre-terminals from left to right."""
        return [node for node, _ in self.visits() if not node.children]

    @property
    def words(self) -> list[str]:
        """The words from left to right."""
        return [leaf.word for leaf in self.leaves]

    def __str__(self) -> str:
        """Return the tree on one line: `(NP (DT the) (NN cat))`."""
        parts = []
        for node, opens in self.visits():
            start = f"({node.label} {node.word}" if opens else ""
            parts.append(start if opens and node.children else f"{start})")
        return "".join(parts).replace(")(", ") (")


def read_trees(text: str, name: str, first_line: int = 1) -> list[Tree]:
    """Return all trees of a text, exactly as they stand, in any division into lines.

    A word with white space inside (CRAFT has five) gets `_` in its place. name, first_line: for messages.
    Raises UserError, which names the line, for text that is not bracketed in this form.
    """
    trees: list[Tree] = []
    opened: list[tuple[str, list[Tree], list[str]]] = []  # label, parts and words of each open bracket
    before, line = "", first_line
    for line, content in enumerate(text.split("\n"), start=first_line):
        for atom in _ATOM.findall(content):
            if atom == "(":
                opened.append(("", [], []))
                _require(len(opened) <= DEEPEST, name, line, f"has brackets more than {DEEPEST} deep; correct it")
            elif not opened:
                raise UserError(f"{name}: line {line:,}: `{atom}` stands outside of all brackets; correct it")
            elif atom == ")":
                tree = _closed(*opened.pop(), name, line)
                (opened[-1][1] if opened else trees).append(tree)
            elif before == "(":
                opened[-1] = (atom, [], [])
            else:
                opened[-1][2].append(atom)
            before = atom
    _require(not opened, name, line, "a bracket is not closed at the end; copy the file again or correct it")
    return trees


def _closed(label: str, parts: list[Tree], words: list[str], name: str, line: int) -> Tree:
    """Return the tree of a bracket that has come to its end."""
    if bool(parts) == bool(words):
        inside = f"the word `{words[0]}` beside brackets" if words else "neither brackets nor a word"
        raise UserError(f"{name}: line {line:,}: `({label}` has {inside}; correct it")
    return Tree(label, tuple(parts), "_".join(words))


def _require(condition: bool, name: str, line: int, fault: str) -> None:
    if not condition:
        raise UserError(f"{name}: line {line:,}: {fault}")


def stripped(tree: Tree) -> Tree | None:
    """Return the tree as parsers are trained and scored on it, or None if no word is left.

    Empty elements go, with the phrases that hold nothing else. Function tags and indices go from the labels of phrases
    (`NP-SBJ=2` becomes `NP`). A bracket around the whole tree goes if it holds one phrase. Else it is `TOP`, which
    EVALB does not count.
    """
    children = tuple(filter(None, map(stripped, tree.children)))
    if not children and (tree.children or tree.label == TRACE):
        return None
    if not children:
        return tree
    if tree.label in OUTER:
        return children[0] if len(children) == 1 else Tree("TOP", children)
    return Tree(_category(tree.label), children)


def _category(label: str) -> str:
    return label if label.startswith("-") else re.split("[-=]", label, maxsplit=1)[0]


def treebank(text: str, name: str) -> list[Tree]:
    """Return all trees of a treebank's file, `stripped`. Raises UserError as `read_trees`."""
    return [tree for tree in map(stripped, read_trees(text, name)) if tree]


def right_branching(leaves: list[Tree]) -> Tree:
    """Return the tree in which each word's sister is all that follows: `S` over the whole, and `VP` over each rest."""
    tree = leaves[-1]
    for position in range(len(leaves) - 2, -1, -1):
        tree = Tree("VP" if position else "S", (leaves[position], tree))
    return tree if tree.children else Tree("S", (tree,))
