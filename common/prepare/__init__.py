"""Preparation of a corpus. `preparation` runs the steps, and each step has a module.

There are two passes over the text with learning in between, because all words must be known before the first one can
get its id. Tokenising takes most of the time, so it is not repeated: `tokens` stores each shard of the text as word
numbers. `selection` may leave out pairs. `types` counts the words of all shards. `subwords` learns from the counts how
words are split and which pieces have an id. `lexicon` turns word numbers into ids.

A function that works on a shard writes one file, completely or not at all, and does nothing if the file exists. So a
killed preparation can be resumed, and any process of the `workers` can do the work.
"""
