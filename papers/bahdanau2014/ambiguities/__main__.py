"""`python -m papers.bahdanau2014.ambiguities` trains every recipe with every seed, scores them and builds the page.

It is `python -m papers.bahdanau2014 seeds --scale ambiguities`. Run it again to go on after an interruption.
"""

import sys

from common.run.cli import main
from papers.bahdanau2014.ambiguities import SCALE
from papers.bahdanau2014.paper import PAPER

if __name__ == "__main__":
    sys.exit(main(PAPER, ["seeds", "--scale", SCALE, *sys.argv[1:]]))
