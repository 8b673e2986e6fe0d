"""Constituency trees: read in the Penn Treebank's form, and written as symbols that a translation model can learn."""
