"""From public files to padded minibatches.

corpora (what exists) -> fetch (verified files) -> text (tokens) -> bpe, vocabulary (ids) -> prepare (one folder,
memory-mapped) -> batching (pool, sort, cut). `pipeline` is the part of it that a trained run keeps.
"""
