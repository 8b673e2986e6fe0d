"""`score --laboratory` and `score --recover`: an output under every protocol, and a printed line against itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from common.corpus.lines import read_lines, read_parallel
from common.files import write_whole
from common.progress import counted, progress
from common.report.laboratory import protocol_table, signatures, waterfall_drawing, waterfall_table
from common.report.page import png
from common.score.files import examine, notes, unknown_language
from common.score.laboratory import (
    PROTOCOLS,
    SETTINGS,
    Texts,
    Waterfall,
    laboratory,
    plain_score,
    reference_lengths,
    waterfall,
)
from common.score.recover import describe, plain_recovered, recover
from common.score.significance import plain_difference
from common.typed import plain

_TOKENISER = "moses-2016"
"""The tokeniser by which files are examined."""


def score_by_protocols(
    hypothesis: Path, reference: Path, against: Path | None, language: str, figure: Path | None
) -> dict[str, Any]:
    """Score a file of plain text under every protocol, and return the scores and the waterfall as plain values.

    against: another output for the same sentences, to be compared with. figure: where to draw the waterfall, if at all.
    Raise UserError if a file is missing, empty, not UTF-8 or of another length than the others, or if the references
    have no word.
    """
    files = [hypothesis, reference, *([against] if against else [])]
    hypotheses, references, *others = read_parallel(*files)
    for path, lines in zip(files, (hypotheses, references, *others), strict=True):
        examine(lines, path, _TOKENISER, path == reference)
    # A score and its interval for each protocol, and with a second output those of it and the difference.
    steps = len(PROTOCOLS) * (2 + 3 * len(others)) + SETTINGS
    with progress(steps, "laboratory", " steps") as bar:
        texts = Texts(hypotheses, references, language)
        scores, fall = laboratory(texts, bar.update), waterfall(texts, bar.update)
        found: dict[str, Any] = {
            "language": language,
            "notes": notes(language, references, texts.tokens("references", _TOKENISER), scores["13a"].signature),
            "scores": dict(counted(bar, ((key, plain_score(score)) for key, score in scores.items()))),
            "waterfall": plain(fall),
        }
        if others:
            other = laboratory(Texts(others[0], references, language), bar.update)
            found["against"] = dict(counted(bar, ((key, plain_score(score)) for key, score in other.items())))
            compared = ((key, plain_difference(scores[key], other[key])) for key in scores)
            found["differences"] = dict(counted(bar, compared))
    if figure:
        write_whole(figure, png(waterfall_drawing([fall])))
    return found


def laboratory_text(found: dict[str, Any]) -> str:
    """Return what `score_by_protocols` found as text."""
    tables = protocol_table(found["scores"], found.get("against", {}), found.get("differences", {}))
    parts = [tables, waterfall_table([Waterfall(**found["waterfall"])]), signatures(found["scores"])]
    if "differences" in found:
        parts.append("p: the share of resamples in which the output is not better than the other (one-sided).")
    return "\n\n".join([f"language {found['language']}", *parts, *(f"note: {note}" for note in found["notes"])])


def recover_line(line: str, reference: Path | None, language: str) -> tuple[dict[str, Any], str]:
    """Check a printed line against itself, and return what was found as plain values, and a text that says it.

    reference: plain text of the references, whose length by each tokenisation is compared with the printed one.
    The value `holds` says whether the line agrees with itself and, if both lengths are there, with one of these.
    Raise UserError if the line is no score with its precisions, or if there is no such file or no word in it.
    """
    found = recover(line)
    text, values = describe(found), {**plain_recovered(found), "holds": found.agrees}
    if reference:
        references = read_lines(reference)
        examine(references, reference, _TOKENISER, references=True)
        lengths = reference_lengths(references, language)
        printed = found.line.printed.get("reference length")
        matching = [name for name, length in lengths.items() if str(length) == printed]
        listed = "\n".join(f"  {length:,}  {name}" for name, length in lengths.items())
        about = unknown_language(language)
        text += f"\nwords of {reference}, language {language}:\n{listed}"
        text += "".join(f"\nnote: {note}" for note in about)
        text += (
            f"\nas printed: {', '.join(matching) or 'none'}" if printed else "\nthe line prints no length of references"
        )
        values |= {"language": language, "notes": about, "reference_lengths": lengths, "as_printed": matching}
        values["holds"] = found.agrees and (bool(matching) or printed is None)
    return values, text
