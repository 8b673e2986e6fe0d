"""`python -m papers.vaswani2017 VERB`: the verbs are in common/run/cli.py."""

import sys

from common.run.cli import main
from papers.vaswani2017.paper import PAPER

if __name__ == "__main__":
    sys.exit(main(PAPER))
