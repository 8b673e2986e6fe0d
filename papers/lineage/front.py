"""What stands between two markers in pages for readers, from committed results.

In the README it is our scores beside the papers', in each paper's reproducibility.md the verdicts at every scale.
A scale's report begins with rows like the README's.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from common.errors import UserError
from common.files import write_whole
from common.markdown import table
from common.paper import Paper
from common.report.claims import mean_bleu
from common.report.results import Result, read_results
from common.report.tables import number, score_cell
from common.yaml_files import read_yaml
from papers.lineage import PAPERS
from papers.lineage.same_data import folders

BLOCK = re.compile(r"(<!-- results: [^\n]*-->\n).*?(<!-- end of results -->)", re.DOTALL)
"""The two markers and the generated text between them."""
SYSTEMS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "multi30k": {
        "bahdanau2014": ("rnnencdec-50", "rnnsearch-50", "rnnsearch-50-star"),
        "vaswani2017": ("base-enfr", "base", "base-enfr-wu2021", "base-wu2021"),
    },
    "europarl-small": {
        "bahdanau2014": ("rnnencdec-50", "rnnsearch-30", "rnnsearch-50", "rnnsearch-50-star"),
        "vaswani2017": ("base-enfr", "big-enfr"),
    },
    "europarl-same-small": {
        "vaswani2017": ("base-enfr-words", "base-enfr"),
        "bahdanau2014": ("rnnsearch-50-subwords",),
    },
}
"""The runs that are shown, by scale and paper."""
HEADER = ("model", "languages", "test set here", "BLEU here (95%)", "trained here", "BLEU there", "there")
"""Headings of the cells that `row` returns."""
SEEDS_SCALE = "multi30k-table3"
"""The scale of Vaswani et al. 2017 whose verdicts rest on several seeds."""
TEXTS = {
    "multi30k": "`test_2016_flickr` is of Multi30k (image descriptions, task 1), lower-cased and tokenised. "
    "Its models read 29,000 captions, and some are smaller than the others here (their tables list every size).",
    "europarl-small": "`newstest2014` is the papers' own test set, cased and tokenised. Its models are a quarter of "
    "the papers' widths. They read the first 200,000 pairs, less those above their length limit, of a half of "
    "Europarl v7 that was drawn session by session (`./reproduce.sh europarl --small` reads the first 200,000 of "
    "all of it). The papers' read five corpora, 348M French words of them in 2014 and 36M pairs in 2017.",
    "europarl-same-small": "The two Transformers (small), and RNNsearch-50 on sub-words, read the pairs of "
    "RNNsearch-50 and had the FLOPs of its 8,000 updates. Without another word, a Transformer here reads sub-words and "
    "an RNN words ([both papers at equal cost](papers/lineage/results/europarl-same-small/tables.md)).",
}
"""What is to be said of each scale's text."""
THERE = (
    "BLEU there: as printed, for larger models trained on other text where the column *there* says newstest2014. A "
    "score here compares with another here of the same test set and languages, and with the one beside it only where "
    "text and model are the same. Of several seeds a score is the mean, and its interval covers seeds and sentences."
)
"""What is to be said of the printed scores."""


def blocks() -> dict[Path, Callable[[], str]]:
    """Return what makes the block of each page, by the page's path."""
    reports = {paper.root / "reproducibility.md": partial(verdicts, paper) for paper in PAPERS.values()}
    return {Path(__file__).parents[2] / "README.md": scores, **reports}


def write(page: Path, block: str) -> None:
    """Bring the block of a page up to date. Raise UserError if it has none."""
    text = page.read_text(encoding="utf-8")
    if not BLOCK.search(text):
        raise UserError(f"{page}: has no lines `<!-- results: ... -->` and `<!-- end of results -->`; give them back")
    write_whole(page, BLOCK.sub(lambda markers: f"{markers[1]}{block}\n{markers[2]}", text))


def verdicts(paper: Paper) -> str:
    """Return a table of the paper's claims and what each committed scale says of them, in markdown."""
    decided: dict[str, dict[str, str]] = {}
    said: dict[str, list[str]] = {}
    for path in sorted((paper.root / "results").glob("*/claims.json")):
        claims = json.loads(path.read_text(encoding="utf-8"))
        if any(claim["verdict"] != "not run" for claim in claims):
            decided[path.parent.name] = {claim["id"]: claim["verdict"] for claim in claims}
        said |= {claim["id"]: [claim["statement"], claim["source"]] for claim in claims}
    rows = [
        [*words, *(verdict if (verdict := found.get(name, "")) != "not run" else "" for found in decided.values())]
        for name, words in said.items()
    ]
    return table(["claim", "where", *(f"[{scale}](results/{scale}/tables.md)" for scale in decided)], rows)


def scores() -> str:
    """Return the README's block in markdown: a table of committed runs, and below it what they were scored on."""
    rows, texts = [], []
    for scale, systems in SYSTEMS.items():
        for name, shown in systems.items():
            results = read_results(folders(scale, None)[name])
            rows += [row(name, results, results[system]) for system in shown if system in results]
            if results and TEXTS[scale] not in texts:
                texts.append(TEXTS[scale])
    return "\n\n".join(
        [
            table(HEADER, rows, right=(3, 5)),
            "\n".join(f"- {text}" for text in [*texts, THERE]),
            *table3_verdicts(folders(SEEDS_SCALE, None)["vaswani2017"]),
        ]
    )


def table3_verdicts(folder: Path) -> list[str]:
    """Return the verdicts on Table 3 of Vaswani et al. 2017 from a folder of results with several seeds.

    Return nothing without results. Claims whose rows were not run are left out.
    """
    if not read_results(folder):
        return []
    with tempfile.TemporaryDirectory() as out:
        outcomes = PAPERS["vaswani2017"].build_tables(SEEDS_SCALE, folder, Path(out)).claims
    rows = [
        [outcome.claim.statement, outcome.claim.source, f"**{outcome.verdict}**", outcome.evidence]
        for outcome in outcomes
        if outcome.verdict != "not run"
    ]
    text = (
        "What sections 5.4 and 6.2 of Vaswani et al. 2017 conclude from Table 3, decided on small models with several "
        f"seeds each ([the table](papers/vaswani2017/results/{SEEDS_SCALE}/tables.md), which says how). PPL is "
        "perplexity, of which less is better:"
    )
    return [text, table(["claim", "where", "here", "evidence here (95%)"], rows)]


def row(paper: str, results: Mapping[str, Result], result: Result) -> list[str]:
    """Return the cells of one of a scale's results: of several seeds the mean."""
    seeds = f"{len(result.trainings)} seeds, " if result.others else ""
    trained = f"{seeds}{result.updates}, {result.hardware.split(',')[0]}"
    ours = score_cell(mean_bleu(results, result))
    return [result.title, result.pair, f"`{result.test_set}`", ours, trained, *printed(paper, result)]


def printed(paper: str, result: Result) -> tuple[str, str]:
    """Return the printed BLEU beside which a run is shown, and who printed it. Empty if nobody did."""
    reported = read_yaml(PAPERS[paper].root / "reported.yaml")["tables"]
    system = str(result.recipe["reproduces"]).rpartition("/")[2]
    if paper == "bahdanau2014":
        found = reported["table1"]["rows"].get(system) if result.pair == "EN-FR" else None
        return (number(found["All"]), "the paper, newstest2014") if found else ("", "")
    others = read_yaml(PAPERS[paper].root / "reported-wu2021.yaml")
    if result.system in others["systems"]:
        known = others["scores"][result.pair]["test_2016_flickr"]
        return number(known["BLEU"]), f"{others['label']}, same text and model ({known['source']})"
    model = system.removesuffix("-enfr")
    found = reported["table2"]["rows"].get(model) if model in ("base", "big") else None
    return (number(found[result.pair]), f"the paper's {model} model, newstest2014") if found else ("", "")
