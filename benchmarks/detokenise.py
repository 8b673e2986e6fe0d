"""How many lines of clean text come back from tokenising and detokenising, and what prevents the others.

    PAPERS_MIRROR=... python -m benchmarks.detokenise      # about two minutes

A line counts as restored if it equals the line before tokenising, apart from white space. The Moses detokeniser puts
spaces where the language usually has them, so text that has them elsewhere cannot come back. A line that is not
restored is counted once, by the sign at its first difference.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from common.corpus.fetch import MIRROR
from common.corpus.lines import read_lines
from common.errors import UserError
from common.files import write_json
from common.run.cli import guarded, utf8_output
from common.run.record import commit, environment
from common.text.moses import Tokeniser, clean
from common.typed import plain

RESULT = Path(__file__).parent / "results" / "detokenise.json"
"""Where the figures are written."""
LANGUAGES = ("en", "de", "fr")
"""Languages that are measured."""
MULTI30K = ("train", "val", "test_2016_flickr", "test_2017_flickr", "test_2017_mscoco", "test_2018_flickr")
"""Parts of Multi30k that are measured."""
DEBDOC = {"en": "en-fr.en", "de": "en-de.de", "fr": "en-fr.fr"}
"""End of the file name in debdoc, by language."""
KINDS = {
    "quotation mark or apostrophe": "\"'`«»‹›„“”‘’",
    "? ! : ; %": "?!:;%",
    "slash": "/\\",
    "hyphen or dash": "-‐‑‒–—",
    "bracket": "()[]{}<>",
    "comma or full stop": ",.…",
}
"""Signs by the name that the table gives them. Any other sign is a symbol."""


def sets(mirror: Path) -> dict[tuple[str, str], list[str]]:
    """Read the lines by set and language: all of Multi30k, and debdoc's validation and test documents."""
    lines = {
        (f"multi30k {split}", language): read_lines(mirror / "multi30k" / f"{split}.{language}.gz")
        for split in MULTI30K
        for language in LANGUAGES
    }
    for split in ("valid", "test"):
        for language in LANGUAGES:
            path = mirror / "debdoc" / f"{split}.{DEBDOC[language]}.xz"
            lines[f"debdoc {split}", language] = read_lines(path)
    return lines


def kind(line: str, restored: str) -> str:
    """Name the first difference of two lines, and the sign beside it.

    The difference is `space +` (one too many), `space -` (one missing), or another character.
    """
    here = len(os.path.commonprefix([line, restored]))
    got, wanted = restored[here : here + 1] == " ", line[here : here + 1] == " "
    if got == wanted:
        return "another character"
    longer = restored if got else line
    beside = [sign for sign in longer[here - 1 : here] + longer[here + 1 : here + 2] if not sign.isalnum()]
    names = [next((name for name, signs in KINDS.items() if sign in signs), "symbol") for sign in beside]
    return f"space {'+' if got else '-'} {names[0] if names else 'between letters or digits'}"


def measure(lines: list[str], language: str, state: str) -> dict[str, Any]:
    """Return the number of lines, how many are restored, and the failures by kind, the most frequent first."""
    tokeniser = Tokeniser(language, lowercase=False, tokeniser=state)
    pairs = [(clean(line), tokeniser.detokenise(tokeniser.tokenise(line))) for line in lines]
    failures = Counter(kind(line, restored) for line, restored in pairs if line != restored)
    restored = len(lines) - failures.total()
    share = round(restored / len(lines), 4)
    return {"lines": len(lines), "restored": restored, "share": share, "failures": dict(failures.most_common())}


def main() -> None:
    """Measure all sets, print a table and write the figures."""
    utf8_output()
    if not (mirror := os.environ.get(MIRROR)):
        raise UserError(f"set {MIRROR} to the folder with multi30k and debdoc")
    rows = []
    print(f"{'set':26} {'':2} {'state':10} {'lines':>6} {'restored':>8}  main reasons")
    for (name, language), lines in sets(Path(mirror)).items():
        for state in ("moses-2014", "moses-2016"):
            row = measure(lines, language, state)
            rows.append({"set": name, "language": language, "state": state, **row})
            reasons = ", ".join(f"{reason} {count:,}" for reason, count in list(row["failures"].items())[:3])
            print(f"{name:26} {language} {state:10} {row['lines']:6,} {row['share']:8.2%}  {reasons}", flush=True)
    root = Path(__file__).resolve().parent.parent
    write_json(RESULT, {"rows": rows, "environment": plain(environment("cpu")), **commit(root)})


if __name__ == "__main__":
    sys.exit(guarded(main, "python -m benchmarks.detokenise"))
