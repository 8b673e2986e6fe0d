"""Table 1 of Vaswani2017, §4, measured: its layer types, their paths and costs, and the page on them.

    python -m benchmarks.complexity              # measures: results/complexity.json, and the page
    python -m papers.vaswani2017.complexity      # makes the page again: results/complexity.md and complexity.png

Letters as in Table 1: n positions, d = d_model, k the width of a kernel, r the positions that restricted self-attention
looks at. FLOPs are those of matrix products, and a multiply-add counts as two, as in `plan`.
"""
