"""What needs both papers. Only modules in this folder may import both of them."""

from common.paper import Paper
from papers.bahdanau2014.paper import PAPER as _BAHDANAU
from papers.vaswani2017.paper import PAPER as _VASWANI

PAPERS: dict[str, Paper] = {paper.name: paper for paper in (_BAHDANAU, _VASWANI)}
"""Both papers by name, the older one first."""
