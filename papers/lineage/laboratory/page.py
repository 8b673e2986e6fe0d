"""The page of the BLEU laboratory: what a choice is worth on published outputs, and how to tell a printed score's."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from common.files import read_text, write_whole
from common.markdown import table
from common.report import page
from common.report.laboratory import protocol_table, waterfall_drawing, waterfall_table
from common.score.laboratory import PROTOCOLS, Waterfall
from common.score.recover import Recovered, recover
from common.yaml_files import read_yaml

PRINTED = Path(__file__).with_name("printed.yaml")
"""What other people printed."""
TODAY = "13a"
"""The protocol that the others are compared with."""
SHOWN = (TODAY, "13a-lc", "intl", "intl-lc", "moses-2014", "moses-2016-split", "moses-2019-a", "chrf", "chrf++", "ter")
"""Protocols in the table of all outputs."""
FRENCH = (
    "moses-2014",
    "moses-2016",
    "moses-2016-lc",
    "moses-2019",
    TODAY,
    "13a-lc",
    "intl",
    "intl-lc",
    "chrf++",
    "ter",
)
"""Protocols in the table of the French output."""
SHORT = {
    "moses-2014": "Moses of 2014",
    "moses-2016-split": "Moses of 2016, split",
    "moses-2016-lc": "Moses of 2016, -lc",
    "moses-2019-a": "Moses -a of 2019",
    "13a": "13a",
    "13a-lc": "13a, -lc",
    "intl": "intl",
    "intl-lc": "intl, -lc",
    "chrf": "chrF2",
    "chrf++": "chrF2++",
    "ter": "TER",
}
"""Names of protocols in the headings of tables."""

WHY = """\
BLEU compares words, and every paper cuts its text into other words. Its arithmetic has been the same since 2002, and
two tools that are given the same tokens print the same number. What differs is everything before: which tokeniser, of
which year; whether hyphenated words are split; whether quotes are made alike; whether case counts. Each of these
changes what a match is, on both sides, and none of it shows in the number. So a difference between scores of two
papers is one of systems only if all of this is the same, and it is seldom said. Here each choice is made alone, on
real outputs whose authors published them. The outputs themselves are not kept here."""

ORDER = """\
The steps are taken in the order of the table, and each keeps what the steps before it changed. They depend on each
other a little, so the column “in any order” has the least and the most that a step adds over all choices of the
others (mean over the outputs). The metric itself adds nothing: sacreBLEU smooths only an order of n-grams without a
match, and a test set has matches of all four. chrF and TER have other scales and are no steps; they are in the tables
below. There quotes are changed on the split text of 2016 only, where somebody did so; what they are worth elsewhere is
in the column “in any order”."""

GUIDE = """\
1. **The line with the precisions is there.** `score --recover LINE` says whether it agrees with itself. A part that
   does not was misprinted, or is of another output.
2. **It has a reference length.** `score --recover LINE --reference FILE --target-language de` counts the references'
   words by every tokenisation and names those that fit. The tables above show newstest's. A length that fits none
   means other sentences, sub-words, or text that was normalised first.
3. **Two tokenisations fit.** The states of Moses' script of 2014 and of 2016 count the same words in newstest2014's
   references, and on the outputs above their scores differ by at most {years:.2f} BLEU. So the year may stay open.
4. **There is a signature.** It names sacreBLEU's tokeniser, case and version. It cannot say whether the text was
   detokenised before.
5. **There is a number and no more.** Look at what the paper's code calls. In English-German papers of 2015 to 2019 a
   script with `##AT##-##AT##` splits compounds; data that was tokenised with Moses' option -a has its hyphens split
   already, and `@-@` in the output shows it. Of English-German scores on newstest2014 also ask how the reference
   writes quotes.
6. **Nothing says it.** Then the number stands for a range. BLEU by the protocols above that are no mistake lies up to
   {span:.1f} points apart for one and the same of these outputs, and for the checkpoint under “Quotes”, on
   newstest2014, {checkpoint:.1f}. A smaller difference between two papers shows nothing if their protocols are
   unknown."""


def write_page(path: Path) -> None:
    """Write the page and the figure beside the scores."""
    record = json.loads(read_text(path, "score the outputs: python -m papers.lineage.laboratory measure"))
    printed = read_yaml(PRINTED)
    falls = [Waterfall(**row["waterfall"]) for row in record["outputs"]]
    figure = path.with_name(f"{path.stem}-waterfall.png")
    known = [float(row["newstest2014"]) for row in printed["checkpoint"]["scores"].values()]
    ranges = {"years": _years(record), "span": _span(record), "checkpoint": max(known) - min(known)}
    parts = [
        f"# The BLEU laboratory\n\n{WHY}",
        f"## What each step is worth\n\n{waterfall_table(falls)}\n\n{ORDER}\n\n"
        f"![What each step adds to BLEU, as bars]({figure.name})\n\n"
        f"*{len(falls)} outputs of Hieber et al. 2017, English to German, newstest2017.*",
        f"## By every protocol\n\n{spread_table(record)}\n\n{_spread_note(record)}",
        f"## Every output\n\n{outputs_table(record, printed)}\n\n{_outputs_note(record, printed)}",
        f"## Who is better, by which protocol\n\n{neighbours_table(record)}\n\n{_neighbours_note(record)}",
        f"## Quotes\n\n{quotes_table(record)}\n\n{QUOTES}\n\n{checkpoint_table(printed)}\n\n"
        f"Source: {printed['checkpoint']['source']}.",
        f"## French\n\n{protocol_table({key: record['ours']['scores'][key] for key in FRENCH}, {}, {})}\n\n"
        f"{waterfall_table([Waterfall(**record['ours']['waterfall'])])}\n\n{record['ours']['system']}, newstest2014. "
        "Moses splits what is before an apostrophe from the word after it, and 13a does not: `l' eau`. The commonest "
        "words of French become tokens of their own, which both sides have.",
        f"## Which script counted\n\n{lengths_table(record)}\n\n{LENGTHS}",
        f"## Printed lines\n\n{lines_table(record, printed)}\n\n{LINES}",
        f"## How to find a printed number's protocol\n\n{GUIDE.format(**ranges)}",
        f"## Make it again\n\n{COMMANDS}\n\n{_provenance(record)}",
    ]
    write_whole(figure, page.png(waterfall_drawing(falls)))
    write_whole(path.with_suffix(".md"), "\n\n".join(parts) + "\n")


QUOTES = """\
The last columns score the references themselves, as a translation that is perfect but for ASCII quotes. Each quote
costs the n-grams around it. 13a costs more: it leaves „ and “ on their words, so that the words do not match either.
The reference of newstest2017 has ASCII quotes only, so that the steps on quotes are worth nothing above. On
newstest2014 they are worth something: the reference that came with a checkpoint of tensor2tensor has ASCII quotes,
and a system that writes them no longer loses what the table shows. That checkpoint was scored by somebody else, and
only on newstest2014 is its last score far above the first: newstest2013 has no other quotes."""

LENGTHS = """\
Words of the references, which is the reference length that the tools print. 2018 brought the rule of the last full
stop, by which today's script differs. sacremoses has the rules of 2016, and for these texts its counts."""

LINES = """\
Each line is checked within its rounding, as `score --recover` does, and its reference length is looked up in the
table above. A length that is not there: issue 124 has another number of sentences, and sub-words are no words. Of the
two French lines one counts sub-words, and is 2.9 BLEU above the other for the same output. Both print the ratio
upside down."""

COMMANDS = """\
```bash
python -m papers.vaswani2017 score --laboratory --hypothesis output.txt --reference reference.txt --figure waterfall.png
python -m papers.vaswani2017 score --hypothesis a.txt --against b.txt --reference reference.txt   # paired bootstrap
python -m papers.vaswani2017 score --recover "BLEU = 24.89, 57.6/31.2/19.1/12.2 (BP=0.978, ratio=0.978, ref_len=64496)"
PAPERS_MIRROR=FOLDER python -m papers.lineage.laboratory measure   # scores the published outputs, then this page
python -m papers.lineage.laboratory page                           # this page from results/laboratory.json
```"""


def _values(record: Mapping[str, Any], key: str) -> Any:
    """Return the outputs' scores by a protocol, (outputs,)."""
    return np.array([row["scores"][key]["score"] for row in record["outputs"]])


def _better(record: Mapping[str, Any], key: str) -> Any:
    """Return the same so that more is better."""
    return _values(record, key) * (-1 if key == "ter" else 1)


def _years(record: Mapping[str, Any]) -> float:
    """Return how far the Moses of 2014 and of 2016 are apart at most."""
    gaps = [
        np.abs(_values(record, f"moses-2014{end}") - _values(record, f"moses-2016{end}")).max()
        for end in ("", "-split")
    ]
    return float(max(gaps))


def _span(record: Mapping[str, Any]) -> float:
    """Return how far BLEU by protocols that are no mistake lies apart at most, for one output."""
    keys = [key for key in PROTOCOLS if key not in ("chrf", "chrf++", "ter", "plain", "twice")]
    return float(np.ptp(np.array([_values(record, key) for key in keys]), axis=0).max())


def _swapped(record: Mapping[str, Any], key: str) -> int:
    """Return how many pairs of outputs a protocol orders otherwise than today's."""
    one, other = _better(record, TODAY), _better(record, key)
    return sum((one[i] - one[j]) * (other[i] - other[j]) < 0 for i, j in combinations(range(len(one)), 2))


def spread_table(record: Mapping[str, Any]) -> str:
    """Return for each protocol the mean over the outputs, how far it is from today's, and which pairs change places."""
    rows = []
    for key, protocol in PROTOCOLS.items():
        values = _values(record, key)
        gaps = values - _values(record, TODAY)
        other = key in ("chrf", "chrf++", "ter")
        apart = (
            ["", ""] if other or key == TODAY else [f"{gaps.mean():+.2f}", f"{gaps.min():+.2f} to {gaps.max():+.2f}"]
        )
        rows.append([protocol.label, protocol.usage, f"{values.mean():.2f}", *apart, str(_swapped(record, key))])
    header = ["protocol", "used by", "mean", "minus 13a", "least to most", "pairs in another order"]
    return table(header, rows, right=range(2, len(header)))


def _spread_note(record: Mapping[str, Any]) -> str:
    count = len(record["outputs"])
    most = max(_swapped(record, key) for key in PROTOCOLS if key not in ("chrf", "chrf++", "ter"))
    agreed = f"A BLEU changes the order of at most {most}." if most else "No BLEU changes the order of any."
    return (
        f"Means over the {count} outputs; of their {count * (count - 1) // 2} pairs, how many a protocol puts in "
        f"another order than 13a does. {agreed} What differs is the number. So the order of outputs under one protocol "
        "can be trusted as far as its intervals go, and a comparison across two protocols cannot. The last two "
        "protocols are mistakes that are easily made. For the second sacreBLEU prints the signature of a right score, "
        "because it cannot see what was done to its text before."
    )


def outputs_table(record: Mapping[str, Any], printed: Mapping[str, Any]) -> str:
    """Return every output's score by the protocols of SHOWN, beside what its authors printed."""
    rows = []
    for row in sorted(record["outputs"], key=lambda row: row["scores"][TODAY]["score"]):
        today = row["scores"][TODAY]
        first = f"{today['score']:.2f} ({today['low']:.2f} to {today['high']:.2f})"
        others = [f"{row['scores'][key]['score']:.2f}" for key in SHOWN[1:]]
        rows.append([row["system"], printed["outputs"]["scores"].get(row["system"], ""), first, *others])
    header = ["output", "printed", "13a (95%)", *(SHORT[key] for key in SHOWN[1:])]
    return table(header, rows, right=range(1, len(header)))


def _outputs_note(record: Mapping[str, Any], printed: Mapping[str, Any]) -> str:
    found = {row["system"]: row["scores"] for row in record["outputs"]}
    shown = printed["outputs"]["scores"]
    others = {system: text for system, text in shown.items() if TODAY not in _giving(found[system], text)}
    note = (
        f"Printed: {printed['outputs']['source']}, sacreBLEU with 13a, cased, where the figure was seen. Of "
        f"{len(shown)} printed scores {len(shown) - len(others)} are those of the published outputs, to the last digit."
    )
    for system, text in others.items():
        labels = [PROTOCOLS[key].label for key in _giving(found[system], text)]
        giving = "; ".join(label for label in labels if not label.startswith("..."))
        note += (
            f" {system} has {text} printed, and its output scores {found[system][TODAY]['score']:.2f}. "
            + (f"It scores {text} by {giving}; how the figure came about is not known." if giving else "")
        ).rstrip()
    return (
        f"{note} Neural Monkey's output has `<unk>` in place of commas and quotes, which most tokenisers take for "
        "three words."
    )


def _giving(scores: Mapping[str, Any], text: str) -> list[str]:
    """Return the protocols by which an output's score is the printed one, rounded to its digits."""
    digits = len(text.partition(".")[2])
    return [key for key, value in scores.items() if f"{value['score']:.{digits}f}" == text]


def neighbours_table(record: Mapping[str, Any]) -> str:
    """Return the differences between outputs that are neighbours by today's protocol, with paired intervals."""
    keys = list(record["differences"][0]["by"])
    keys.remove(TODAY)
    rows = [
        [f"{pair['a']} - {pair['b']}", *(_difference(pair["by"][key]) for key in (TODAY, *keys))]
        for pair in record["differences"]
    ]
    header = ["pair, the better by 13a first", *(SHORT[key] for key in (TODAY, *keys))]
    return table(header, rows, right=range(1, len(header)))


def _difference(value: Mapping[str, float]) -> str:
    """Return a difference with its interval, bold if the interval is on one side of 0."""
    text = f"{value['difference']:+.2f} ({value['low']:+.2f} to {value['high']:+.2f})"
    return f"**{text}**" if _sure(value) else text


def _sure(value: Mapping[str, float]) -> bool:
    return value["low"] > 0 or value["high"] < 0


def _neighbours_note(record: Mapping[str, Any]) -> str:
    pairs = record["differences"]

    def verdict(key: str, value: Mapping[str, float]) -> int:
        """Return 1 or -1 for a pair of which one is surely better, else 0."""
        sign = 1 if value["difference"] > 0 else -1
        return (-sign if key == "ter" else sign) if _sure(value) else 0

    verdicts = [{key: verdict(key, value) for key, value in pair["by"].items()} for pair in pairs]
    certain = sum(one[TODAY] != 0 for one in verdicts)
    bleu = [key for key in verdicts[0] if key not in ("chrf++", "ter")]
    alike = sum(len({one[key] for key in bleu}) == 1 for one in verdicts)
    other = sum(len({*one.values()}) == 1 for one in verdicts)
    return (
        f"95% intervals by paired bootstrap, bold where they exclude 0 (of TER less is better). 13a tells {certain} of "
        f"{len(pairs)} neighbours apart. All BLEUs say the same of {alike} of them, and with chrF and TER of {other}."
    )


def quotes_table(record: Mapping[str, Any]) -> str:
    """Return which double quotes the references have, and what a perfect translation with ASCII ones scores."""
    rows = [
        [
            row["set"],
            f"{row['unicode_quotes']:,}",
            f"{row['ascii_quotes']:,}",
            *(f"{row['with_ascii_quotes'][key]:.2f}" for key in (TODAY, "moses-2016-split")),
        ]
        for row in record["references"]
    ]
    header = ["references", "other double quotes", "ASCII", "with ASCII ones: 13a", "Moses of 2016, split"]
    return table(header, rows, right=range(1, len(header)))


def checkpoint_table(printed: Mapping[str, Any]) -> str:
    """Return what somebody else printed of one checkpoint."""
    scores = printed["checkpoint"]["scores"]
    header = ["protocol", *next(iter(scores.values()))]
    return table(header, [[name, *row.values()] for name, row in scores.items()], right=range(1, len(header)))


def lengths_table(record: Mapping[str, Any]) -> str:
    """Return how many words each set of references has by each tokenisation."""
    sets = record["references"]
    rows = [[name, *(f"{row['lengths'][name]:,}" for row in sets)] for name in sets[0]["lengths"]]
    header = ["tokens", *(row["set"] for row in sets)]
    return table(header, rows, right=range(1, len(header)))


def lines_table(record: Mapping[str, Any], printed: Mapping[str, Any]) -> str:
    """Return printed lines, whether they agree with themselves, and which tokens have their reference length."""
    lengths = {row["set"]: row["lengths"] for row in record["references"]}
    rows = []
    for entry in printed["lines"]:
        found = recover(entry["line"])
        length = found.line.printed["reference length"]
        fitting = [name for name, words in lengths[entry["set"]].items() if str(words) == length]
        rows.append(
            [
                entry["who"],
                entry["set"],
                found.line.printed["BLEU"],
                _implied(found),
                "yes" if found.agrees else f"no: {', '.join(found.suspects)}",
                f"{int(length):,}",
                "; ".join(fitting) or "none of these",
            ]
        )
    header = ["who", "references", "BLEU", "from its precisions", "agrees with itself", "reference length", "tokens"]
    return table(header, rows, right=(2, 3, 5))


def _implied(found: Recovered) -> str:
    return str(found.relations[-1].implied)


def _provenance(record: Mapping[str, Any]) -> str:
    environment = record["environment"]
    inputs = "\n".join(
        f"- `{name}`: {file['bytes']:,} bytes, sha256 `{file['sha256']}`" for name, file in record["inputs"].items()
    )
    signatures: Sequence[str] = [value["signature"] for value in record["outputs"][0]["scores"].values()]
    listed = "\n".join(f"- {PROTOCOLS[key].label}: `{text}`" for key, text in zip(PROTOCOLS, signatures, strict=True))
    return (
        f"Scored by commit {record['commit'][:7]} with sacreBLEU {environment['sacrebleu']} on "
        f"{environment['hardware']}, in {record['seconds'] / 60:.0f} minutes on a busy machine, from\n\n{inputs}"
        f"\n\nSignatures:\n\n{listed}"
    )
