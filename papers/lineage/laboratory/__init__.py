"""The BLEU laboratory on published outputs: what each choice of a protocol is worth, and who used which."""

from pathlib import Path

RESULT = Path(__file__).parents[1] / "results" / "laboratory.json"
"""The committed scores. The page stands beside them."""
