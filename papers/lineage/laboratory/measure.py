"""Score published outputs by every protocol, and count the words of the papers' references by every tokenisation.

The texts are in the folder that PAPERS_MIRROR names: sixteen English-German outputs on newstest2017 that Hieber et al.
2017 published (arXiv:1712.05690), and the references of newstest2012 to 2014. Of the outputs only scores are kept.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from common.corpus.lines import open_text, parallel_lines
from common.errors import UserError
from common.files import checksum, read_text, write_json
from common.run.folder import REPOSITORY
from common.run.record import commit, environment
from common.score.bleu import DOUBLE_QUOTES, Score
from common.score.laboratory import PROTOCOLS, Texts, laboratory, plain_score, reference_lengths, waterfall
from common.score.significance import plain_difference
from common.typed import plain
from papers.lineage import PAPERS

ARCHIVE = "wmt17-outputs/wmt17-en-de-outputs.tar.xz"
"""The published outputs with their source and reference, in the mirror."""
PUBLISHED = {
    "OpenNMT-py groundhog": "rnn/opennmt-py-groundhog",
    "OpenNMT-Lua groundhog": "rnn/opennmt-lua-groundhog",
    "Neural Monkey groundhog": "rnn/neuralmonkey-groundhog",
    "Sockeye groundhog": "rnn/sockeye-groundhog",
    "Marian groundhog": "rnn/marian-groundhog",
    "Nematus groundhog": "rnn/nematus-groundhog",
    "OpenNMT-py RNN": "rnn/opennmt-py",
    "OpenNMT-Lua RNN": "rnn/opennmt-lua",
    "Nematus RNN": "rnn/nematus",
    "Sockeye RNN": "rnn/sockeye",
    "Marian RNN": "rnn/marian",
    "fairseq CNN": "cnn/fairseq",
    "Sockeye CNN": "cnn/sockeye",
    "tensor2tensor Transformer": "transformer/tensor2tensor",
    "Marian Transformer": "transformer/marian",
    "Sockeye Transformer": "transformer/sockeye",
}
"""The systems and their members of the archive. `groundhog`: one recurrent layer in the size of GroundHog's models."""
OURS = PAPERS["bahdanau2014"].root / "results" / "europarl-small" / "rnnsearch-50-star.json"
"""A committed result whose translations of newstest2014 show the same for French."""
REFERENCES = {
    "newstest2012 DE": ("newstest2012.tgz", "test/newstest2012-ref.de.sgm", "de"),
    "newstest2012 FR": ("newstest2012.tgz", "test/newstest2012-ref.fr.sgm", "fr"),
    "newstest2013 DE": ("newstest2013.tgz", "test/newstest2013-ref.de.sgm", "de"),
    "newstest2013 FR": ("newstest2013.tgz", "test/newstest2013-ref.fr.sgm", "fr"),
    "newstest2014 DE": ("test-full.tgz", "test-full/newstest2014-deen-ref.de.sgm", "de"),
    "newstest2014 FR": ("test-full.tgz", "test-full/newstest2014-fren-ref.fr.sgm", "fr"),
}
"""The papers' references: archive in the mirror's folder `wmt14-real`, member, language."""
COMPARED = ("moses-2014", "moses-2016-split", "moses-2016-lc", "13a", "intl", "chrf++", "ter")
"""Protocols by which neighbours are compared."""


def read_member(path: Path, member: str) -> list[str]:
    """Return the lines of a text in an archive."""
    with open_text(path, member) as stream:
        return parallel_lines([stream], [f"{path}, {member}"])[0]


def published(mirror: Path, system: str) -> Texts:
    """Return a published output with its references."""
    names = f"{PUBLISHED[system]}.en-de.detok", "newstest2017.deu"
    hypotheses, lines = (read_member(mirror / ARCHIVE, f"wmt17/{name}") for name in names)
    return Texts(hypotheses, lines, "de")


def references(mirror: Path, name: str) -> tuple[list[str], str]:
    """Return the lines of a set of references, and their language."""
    archive, member, language = REFERENCES[name]
    return read_member(mirror / "wmt14-real" / archive, member), language


def measure(mirror: Path, out: Path, systems: Sequence[str] = tuple(PUBLISHED)) -> None:
    """Score the outputs of `systems` and of OURS, and write what was found.

    Raise UserError if the mirror lacks a text, or if there are uncommitted changes.
    """
    origin = commit(REPOSITORY)
    if origin["dirty"]:
        raise UserError("tracked files differ from the commit; commit first, so that the result can name its code")
    started = time.monotonic()
    inputs = [
        mirror / ARCHIVE,
        *sorted({mirror / "wmt14-real" / archive for archive, _, _ in REFERENCES.values()}),
        OURS,
    ]
    hashes = {path.name: {"sha256": checksum(path), "bytes": path.stat().st_size} for path in inputs}
    rows, kept = [], {}
    for system in systems:
        scores, row = _scored(published(mirror, system))
        rows.append({"system": system, **row})
        kept[system] = {key: scores[key] for key in COMPARED}
        _say(f"{system}: {scores['13a'].value:.2f}, {time.monotonic() - started:,.0f} s")
    french = json.loads(read_text(OURS, "get it from the repository again"))
    lines, language = references(mirror, "newstest2014 FR")
    texts = Texts(french["sets"]["newstest2014"]["columns"]["all"]["hypotheses"], lines, language)
    found = {
        **origin,
        "environment": plain(environment("cpu")),
        "inputs": hashes,
        "outputs": rows,
        "ours": {"system": f"{french['title']}, {french['recipe']}", **_scored(texts)[1]},
        "differences": _neighbours(kept),
        "references": [_reference(mirror, name) for name in REFERENCES] + [_published_reference(mirror)],
        "seconds": round(time.monotonic() - started, 1),
    }
    write_json(out, found)


def _scored(texts: Texts) -> tuple[dict[str, Score], dict[str, Any]]:
    """Return the scores of an output, and what is kept of them."""
    scores = laboratory(texts)
    row = {"scores": {key: plain_score(score) for key, score in scores.items()}, "waterfall": plain(waterfall(texts))}
    return scores, row


def _neighbours(kept: dict[str, dict[str, Score]]) -> list[dict[str, Any]]:
    """Return the differences between outputs that stand next to each other by sacreBLEU, the better one first."""
    ranked = sorted(kept, key=lambda system: -kept[system]["13a"].value)
    return [
        {"a": a, "b": b, "by": {key: plain_difference(kept[a][key], kept[b][key]) for key in COMPARED}}
        for a, b in pairwise(ranked)
    ]


def _reference(mirror: Path, name: str) -> dict[str, Any]:
    return {"set": name, **_counts(*references(mirror, name))}


def _published_reference(mirror: Path) -> dict[str, Any]:
    return {"set": "newstest2017 DE", **_counts(read_member(mirror / ARCHIVE, "wmt17/newstest2017.deu"), "de")}


def _counts(lines: list[str], language: str) -> dict[str, Any]:
    """Return what is counted of references: words, double quotes, and BLEU of themselves with ASCII quotes."""
    quotes = sum(len(DOUBLE_QUOTES.findall(line)) for line in lines)
    same = Texts([DOUBLE_QUOTES.sub('"', line) for line in lines], lines, language)
    return {
        "sentences": len(lines),
        "lengths": reference_lengths(lines, language),
        "unicode_quotes": quotes,
        "ascii_quotes": sum(line.count('"') for line in lines),
        "with_ascii_quotes": {key: PROTOCOLS[key].score(same).value for key in ("13a", "moses-2016-split")},
    }


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
