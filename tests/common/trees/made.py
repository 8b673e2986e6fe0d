"""Trees of any shape, for properties. Tags and labels of phrases have no name in common, as in a treebank."""

from hypothesis import strategies as st

from common.trees.tree import Tree

WORDS = st.sampled_from(["the", "cat", "/", "-LRB-", "/NP", "Éx", "*"])
LEAVES = st.builds(lambda tag, word: Tree(tag, word=word), st.sampled_from(["DT", "NN", ",", "-LRB-", "PRP$"]), WORDS)
PHRASES = ("S", "NP", "VP", "ADVP|PRT")
TREES = st.recursive(
    LEAVES,
    lambda parts: st.builds(
        lambda label, children: Tree(label, tuple(children)),
        st.sampled_from(PHRASES),
        st.lists(parts, min_size=1, max_size=4),
    ),
    max_leaves=20,
)
