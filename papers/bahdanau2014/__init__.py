"""Bahdanau, Cho and Bengio 2014, arXiv:1409.0473: RNNsearch and its baseline RNNencdec."""
