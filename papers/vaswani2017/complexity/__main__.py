"""`python -m papers.vaswani2017.complexity` writes the page on Table 1 again from the committed measurement."""

from __future__ import annotations

import sys

from common.run.cli import Parser, guarded, utf8_output
from papers.vaswani2017.complexity.page import RESULT, write_page


def main(arguments: list[str] | None = None) -> int:
    """Write the page. Return the exit status as common.run.cli does."""
    utf8_output()
    parser = Parser(prog="python -m papers.vaswani2017.complexity", description=__doc__)
    parser.parse_args(arguments)

    def work() -> None:
        write_page(RESULT)
        print(f"written: {RESULT.with_suffix('.md')}", file=sys.stderr)

    return guarded(work, parser.prog)


if __name__ == "__main__":
    sys.exit(main())
