"""`python -m papers.lineage.deletion` trains every step with every seed. With a verb it does what the papers' do.

Run it again to go on after an interruption.
"""

import sys

from common.run.cli import main
from papers.lineage.deletion import SCALE
from papers.lineage.deletion.paper import PAPER

if __name__ == "__main__":
    given = sys.argv[1:]
    verb = bool(given) and not given[0].startswith("-")
    sys.exit(main(PAPER, given if verb else ["seeds", "--scale", SCALE, *given]))
