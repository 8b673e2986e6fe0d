"""A corpus made ready once. `preparation` orders the steps, each of which has a module.

Preparing has two passes over the text with learning in between: which words there are must be known before the first
of them can get its id. Tokenising takes most of the time, so it happens once: `tokens` leaves each shard of the text
as word numbers. `selection` may leave out pairs, `types` counts the words of all shards, `subwords` learns from the
counts how words are split and which pieces have an id, and `lexicon` turns word numbers into ids.

What works on a shard writes one file, complete or not at all, and does nothing when it is there: that is how a killed
preparation goes on, and any process of the `workers` can do it.
"""
