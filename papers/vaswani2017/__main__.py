"""`python -m papers.vaswani2017 VERB ...`; `--help` lists the verbs."""

from common.cli import main
from papers.vaswani2017.paper import PAPER

main(PAPER)
