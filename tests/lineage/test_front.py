"""The README's block: verdicts on Table 3 stand there once there are results with seeds."""

from __future__ import annotations

from papers.lineage import PAPERS, front
from tests import made_results as made

LENGTHS = [5, 7, 9, 11] * 20
QUALITY = {"table3-base": 0.6, "table3-A-h1": 0.5, "table3-C-N8": 0.5}


def test_verdicts_stand_there_once_there_are_seeds(tmp_path):
    """Each is what the page says, and a claim without its rows is no verdict."""
    assert front.table3_verdicts(tmp_path / "nothing") == []
    for system, quality in QUALITY.items():
        for seed in (1, 2, 3):
            recipe = PAPERS["vaswani2017"].recipe(f"{front.SEEDS_SCALE}/{system}", [f"train.seed={seed}"])
            counts = made.statistics([quality + 0.002 * seed] * len(LENGTHS))
            file = made.result(recipe, {"all": made.column(counts, LENGTHS)}, perplexity=10 / quality + 0.01 * seed)
            made.write(tmp_path / "results", f"{system}-seed{seed}", file)
    text, shown = front.table3_verdicts(tmp_path / "results")
    assert "several seeds" in text and f"results/{front.SEEDS_SCALE}/tables.md" in text
    (rows,) = made.tables(shown)
    assert [(row["claim"].partition(":")[0], row["here"]) for row in rows] == [
        ("Several heads beat a single one", "**holds**"),
        ("Still more layers help", "**fails**"),
    ]
    assert all("BLEU" in row["evidence here (95%)"] for row in rows)
