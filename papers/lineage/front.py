"""The README's block of results: our scores beside the papers'.

The block is written between two markers, from committed results.
"""

from __future__ import annotations

import re
from pathlib import Path

from common.files import write_whole
from common.markdown import table
from common.report.results import read_results
from common.report.tables import number, score
from common.yaml_files import read_yaml
from papers.lineage import PAPERS
from papers.lineage.same_data import folders

SCALE = "multi30k"
"""The scale that is shown."""
BLOCK = re.compile(r"(<!-- results: [^\n]*-->\n).*?(<!-- end of results -->)", re.DOTALL)
"""The two markers and the generated text between them."""
SYSTEMS = {
    "bahdanau2014": ("rnnencdec-50", "rnnsearch-50", "rnnsearch-50-star"),
    "vaswani2017": ("base-enfr", "base", "base-enfr-wu2021", "base-wu2021"),
}
"""The runs that are shown, by paper."""


def write(readme: Path) -> None:
    """Bring the block in `readme` up to date."""
    text = readme.read_text(encoding="utf-8")
    write_whole(readme, BLOCK.sub(lambda markers: f"{markers[1]}{block()}\n{markers[2]}", text))


def block() -> str:
    """Return the block in markdown: a table of committed runs, and below it a line on what they were scored on."""
    rows, test_set = [], ""
    for name, folder in folders(SCALE, None).items():
        results = read_results(folder)
        for system in SYSTEMS[name]:
            result = results[system]
            test_set = f"{result.test_set} of {result.corpus}"
            updates = f"{result.updates}, {result.hardware.split(',')[0]}"
            ours = score(result.all.bleu, result.all.interval)
            rows.append([result.title, result.pair, ours, updates, *_others(name, system, result.pair)])
    header = ["model", "languages", "BLEU here (95%)", "trained here", "BLEU there", "there"]
    note = (
        f"Here: {test_set}, lower-cased and tokenised. There: as printed, for larger models on other text where the "
        "last column says newstest2014. A score here compares with another here of the same languages, and with the "
        "one beside it only where text and model are the same."
    )
    return f"{table(header, rows, right=(2, 4))}\n\n{note}"


def _others(paper: str, system: str, pair: str) -> tuple[str, str]:
    """Return the printed BLEU beside which a run is shown, and who printed it."""
    if paper == "bahdanau2014":
        row = read_yaml(PAPERS[paper].root / "reported.yaml")["tables"]["table1"]["rows"][system]
        return number(row["All"]), "the paper, newstest2014"
    if system in ("base", "base-enfr"):
        row = read_yaml(PAPERS[paper].root / "reported.yaml")["tables"]["table2"]["rows"]["base"]
        return number(row[pair]), "the paper's base model, newstest2014"
    others = read_yaml(PAPERS[paper].root / "reported-wu2021.yaml")
    printed = others["scores"][pair]["test_2016_flickr"]
    return number(printed["BLEU"]), f"{others['label']}, same text and model ({printed['source']})"
