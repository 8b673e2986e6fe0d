"""Which of the paper's ambiguities matter: small models that differ in one choice each, three seeds of every one.

`python -m papers.bahdanau2014.ambiguities` trains them all. The recipes are in recipes/ambiguities. Nothing here is the
paper's own.
"""

SCALE = "ambiguities"
"""Folder of the recipes, the runs and the results."""
BASE = "base"
"""The recipe that the others differ from."""
