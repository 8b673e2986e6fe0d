"""From RNNsearch to the Transformer in steps: small models of which each changes one thing of the one before.

    python -m papers.lineage.deletion            # trains every step with three seeds, scores them, builds the page
    python -m benchmarks.deletion                # measures the CPU time of an update of each step

The first model is RNNsearch and the last is the Transformer. Those between are made of the two papers' modules and are
in neither paper.
"""

SCALE = "deletion"
"""Folder of the recipes, the runs and the results."""
