"""From public files to padded minibatches.

corpora (what exists) -> fetch (verified files) -> archives, sgml (lines) -> text (tokens) -> prepare -> batching (pool,
sort, cut). `prepare` orders the steps; shards does the work on each portion of text, workers spreads it over processes,
selection_step, learning and summary are steps of their own. `pipeline` is the part of it that a trained run keeps.
"""
