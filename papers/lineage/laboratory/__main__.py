"""`python -m papers.lineage.laboratory page` writes the page of the committed scores, `measure` scores anew first."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from common.errors import UserError
from common.run.cli import Parser, guarded, utf8_output
from papers.lineage.laboratory import RESULT


def main(arguments: list[str] | None = None) -> int:
    """Score, or write the page. Return the exit status as common.run.cli does."""
    utf8_output()
    parser = Parser(prog="python -m papers.lineage.laboratory", description="The BLEU laboratory on published outputs.")
    parser.add_argument("verb", choices=["measure", "page"], help="measure: needs the texts that PAPERS_MIRROR names")
    options = parser.parse_args(arguments)

    def work() -> None:
        if options.verb == "measure":
            from papers.lineage.laboratory.measure import measure

            mirror = os.environ.get("PAPERS_MIRROR")
            if not mirror or not Path(mirror).is_dir():
                raise UserError("PAPERS_MIRROR names no folder; set it to the one that holds wmt17-outputs")
            measure(Path(mirror), RESULT)
        from papers.lineage.laboratory.page import write_page

        write_page(RESULT)
        print(f"written: {RESULT.with_suffix('.md')}", file=sys.stderr)

    return guarded(work, parser.prog)


if __name__ == "__main__":
    sys.exit(main())
