"""`python -m papers.bahdanau2014 VERB`: the verbs are in common/run/cli.py."""

import sys

from common.run.cli import main
from papers.bahdanau2014.paper import PAPER

if __name__ == "__main__":
    sys.exit(main(PAPER))
