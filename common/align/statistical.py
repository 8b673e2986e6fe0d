"""A statistical aligner beside attention: eflomal (Östling and Tiedemann 2016), trained on a run's own text.

It reads the words themselves, those beyond the shortlist too. It is not among the requirements, because only `analyse`
needs it. Its sampling has no seed, so what it found is kept: every system of the same text is compared with the same
links.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from common.align.dictionary import Dictionary
from common.align.links import Links, read_links, spread, write_links
from common.errors import UserError
from common.files import checksum, locked, sha256_json, write_json
from common.prepare.prepared import Prepared
from common.prepare.words import training_words
from common.recipe import Recipe

SENTENCES = 500
"""Test sentences that are aligned, at even distances in the set."""
TRAINING = 200_000
"""Most training pairs from which the aligner learns, the first ones. More would take hours."""


@dataclass(frozen=True)
class Aligned:
    """Test sentences with the aligner's links."""

    aligner: str
    """Name and version."""
    pairs: int
    """Training pairs from which it learned, besides the test sentences."""
    rows: tuple[int, ...]
    """Places of the sentences in their set."""
    both: tuple[Links, ...]
    """Links that both directions have."""
    one: tuple[Links, ...]
    """Links of the direction in which a target word has at most one source word, as the greatest weight of alpha."""
    dictionary: Path
    """The dictionary that was learned from the links of the training pairs that both directions have."""
    sha256: str
    """Hash of the links and of the dictionary."""


def align_test_set(
    prepared: Prepared, recipe: Recipe, runs: Path, test_set: str, say: Callable[[str], None] = lambda line: None
) -> Aligned:
    """Return the statistical alignment of sentences of a test set with their references.

    It is made once for a prepared text and kept under RUNS/aligned. say: called before it is made.
    Raise UserError if eflomal is missing or fails, if words are divided, or if no word of the set is linked.
    """
    if prepared.text.segmentation != "words":
        raise UserError("text.segmentation: an alignment of words needs whole words; analyse a recipe with `words`")
    folder = runs / "aligned" / folder_name(prepared, test_set)
    with locked(folder):
        if not (folder / "links.json").is_file():
            aligner = _eflomal()
            say(f"aligning {test_set} with the training text")
            _align(aligner, prepared, recipe, runs, test_set, folder)
    aligned = _read(folder)
    _check(aligned, prepared.lines(test_set), folder / "links.json")
    if not any(aligned.both):
        raise UserError(
            f"{folder}: no word of {test_set} is linked; delete the folder, and analyse a run with more text"
        )
    return aligned


def _check(aligned: Aligned, lines: Mapping[str, Sequence[str]], path: Path) -> None:
    """Raise UserError unless all links are between words of the set's sentences. path: of the links."""
    sides = (lines["source_tokens"], lines["reference_tokens"])
    for row, *ways in zip(aligned.rows, aligned.both, aligned.one, strict=True):
        sizes = [len(side[row].split()) for side in sides] if 0 <= row < len(sides[0]) else [0, 0]
        links = frozenset().union(*ways)
        if not sum(sizes) or not all(
            0 <= place < size for link in links for place, size in zip(link, sizes, strict=True)
        ):
            raise UserError(f"{path}: damaged (row {row} links no words of the set); delete {path.parent} and "
                            "analyse again")  # fmt: skip


def folder_name(prepared: Prepared, test_set: str) -> str:
    """Return `<corpus>-<source>-<target>-<hash>`. The hash covers all that the links depend on, but for their chance.

    The length limit is not among it: systems with other limits are compared with the same links.
    """
    manifest = prepared.manifest
    files = {
        name: file.sha256 for name, file in manifest.outputs.items() if name.startswith(("train.", f"{test_set}."))
    }
    key = sha256_json({**files, "sentences": SENTENCES, "training": TRAINING})[:12]
    return f"{manifest.corpus}-{manifest.data['source']}-{manifest.data['target']}-{key}"


def _align(aligner: Any, prepared: Prepared, recipe: Recipe, runs: Path, test_set: str, folder: Path) -> None:
    """Align and write FOLDER/dictionary.txt and then FOLDER/links.json."""
    lines = prepared.lines(test_set)
    rows = spread(len(lines["source"]), SENTENCES)
    tested = [(lines["source_tokens"][i].split(), lines["reference_tokens"][i].split()) for i in rows]
    trained = list(training_words(prepared, recipe, runs / "downloads", TRAINING))
    found = _directions(aligner, [*trained, *tested])
    here = len(trained)
    # Not strict: that would look for a pair beyond the trained ones, and the first tested one would be lost.
    learned = zip(trained, found, strict=False)
    Dictionary.learn((*pair, forward & backward) for pair, (forward, backward) in learned).write(
        folder / "dictionary.txt"
    )
    rest = [directions for _, directions in zip(tested, found, strict=True)]
    kept = {"both": [forward & backward for forward, backward in rest], "one": [forward for forward, _ in rest]}
    write_json(
        folder / "links.json",
        {
            "aligner": f"eflomal {version('eflomal')}",
            "pairs": here,
            "rows": list(rows),
            **{name: list(map(write_links, links)) for name, links in kept.items()},
        },
    )


def _eflomal() -> Any:
    """Return the aligner. Raise UserError without it."""
    try:
        from eflomal import Aligner
    except ImportError:
        raise UserError(
            "eflomal is missing, with which attention is compared; pip install eflomal, in this environment "
            "(it needs a C compiler)"
        ) from None
    return Aligner()


def _directions(aligner: Any, pairs: Sequence[tuple[Sequence[str], Sequence[str]]]) -> Iterator[tuple[Links, Links]]:
    """Yield the links of each pair by both directions.

    In the first a target word has at most one, in the second a source word. Raise UserError if the aligner fails.
    """
    with tempfile.TemporaryDirectory() as kept:
        found = [Path(kept) / name for name in ("forward", "backward")]
        sides = [[" ".join(pair[side]) + "\n" for pair in pairs] for side in (0, 1)]
        try:
            aligner.align(*sides, links_filename_fwd=str(found[0]), links_filename_rev=str(found[1]))
        except subprocess.CalledProcessError as error:
            raise UserError(
                f"eflomal ended with status {error.returncode}, for want of memory or disk perhaps; free some, and "
                "analyse again"
            ) from None
        with found[0].open(encoding="utf-8") as forward, found[1].open(encoding="utf-8") as backward:
            for lines in zip(forward, backward, strict=True):
                yield read_links(lines[0], "eflomal"), read_links(lines[1], "eflomal")


def _read(folder: Path) -> Aligned:
    """Read what `_align` wrote. Raise UserError if it is damaged."""
    path, dictionary = folder / "links.json", folder / "dictionary.txt"
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        links = {name: tuple(read_links(line, str(path)) for line in facts.pop(name)) for name in ("both", "one")}
        if {len(facts["rows"])} != {len(links["both"]), len(links["one"])}:
            raise ValueError("as many rows as links in either way")
        return Aligned(
            aligner=str(facts["aligner"]),
            pairs=int(facts["pairs"]),
            rows=tuple(map(int, facts["rows"])),
            dictionary=dictionary,
            sha256=sha256_json([checksum(path), checksum(dictionary)]),
            **links,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{path}: missing or damaged; delete {folder} and analyse again") from None
