"""Sequential operations and path lengths of Vaswani2017 Table 1, counted on PyTorch's autograd graph.

What is counted are matrix products. All that lies between two of them acts on each position by itself, or normalises,
sums or moves what the product gave. Weights need no gradient here, so every path of a graph leads to the layer's input.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from papers.vaswani2017.complexity.layers import KERNEL, LayerType

PRODUCTS = {"MmBackward0", "BmmBackward0", "ConvolutionBackward0"}
"""The nodes of a graph that stand for matrix products."""


def operations(output: Tensor) -> list[Node]:
    """Return the nodes of the graph behind `output`. Each stands before those that it depends on."""
    done: dict[Node, None] = {}
    waiting = [(output.grad_fn, False)]
    while waiting:  # no recursion: the graph of a recurrence is too deep for it
        node, finished = waiting.pop()
        if finished and node is not None:
            done[node] = None
        elif node is not None and node not in done:
            waiting += [(node, True), *((below, False) for below, _ in node.next_functions)]
    return [*reversed(done)]


def sequential_operations(layer: nn.Module, n: int, d: int) -> int:
    """Return the most matrix products of one layer of which each needs the one before."""
    nodes = operations(layer.requires_grad_(False)(torch.zeros(1, n, d, requires_grad=True)))
    longest: dict[Node, int] = {}
    for node in reversed(nodes):
        chain = max((longest[below] for below, _ in node.next_functions if below is not None), default=0)
        longest[node] = chain + (node.name() in PRODUCTS)
    return longest[nodes[0]]


def layers_to_connect(n: int, k: int = KERNEL) -> int:
    """Return how many dilated convolutions connect n positions: log_k(n), rounded up (§4)."""
    return next(layers for layers in itertools.count(1) if k**layers >= n)


def path_length(kind: LayerType, n: int, d: int) -> tuple[int, int]:
    """Return the length of the path from the last position's output to the first position's input.

    It is the fewest matrix products that a gradient passes on its way down a stack of just enough layers. Return the
    number of these layers too.
    """
    passed = torch.full((n,), math.inf)
    passed[-1] = 0
    layers = 0
    while passed[0] == math.inf:
        passed = passed_below(kind.build(d, layers), passed, d)
        layers += 1
    return int(passed[0]), layers


def passed_below(layer: nn.Module, passed: Tensor, d: int) -> Tensor:
    """Return how many matrix products a gradient has passed when it first reaches each position of the input, (n,).

    passed: the same at each position of the output. No gradient reaches a position that has inf.
    The gradient is carried from node to node as in a backward pass, except that it goes on behind k products only when
    all that is behind fewer has been done, and that a node takes only what did not reach it earlier.
    """
    x = torch.randn(1, len(passed), d, dtype=torch.float64, requires_grad=True)
    order = {node: rank for rank, node in enumerate(operations(layer.double().requires_grad_(False)(x)))}
    fewest = torch.full_like(passed, math.inf)
    waves: defaultdict[int, dict[Node, Tensor]] = defaultdict(dict)  # by products passed: what each node is to take
    for products in passed[passed.isfinite()].unique().tolist():
        waves[int(products)][next(iter(order))] = (passed == products).double().view(1, -1, 1).expand_as(x)
    taken: dict[Node, Tensor] = {}
    while waves:
        products = min(waves)
        wave = waves.pop(products)
        while wave:
            node = min(wave, key=order.__getitem__)
            gradient = wave.pop(node)
            earlier = taken.setdefault(node, torch.zeros_like(gradient, dtype=torch.bool))
            gradient = gradient.masked_fill(earlier, 0)
            taken[node] = earlier | (gradient != 0)
            if hasattr(node, "variable"):  # x: there is no other leaf
                fewest[gradient.any(-1).flatten()] = products
                continue
            after = products + (node.name() in PRODUCTS)
            below = wave if after == products else waves[after]
            for further, part in carried(node, gradient):
                below[further] = below[further] + part if further in below else part
    return fewest


def carried(node: Node, gradient: Tensor) -> Iterator[tuple[Node, Tensor]]:
    """Yield the nodes below to which a node carries a gradient, and that gradient, scaled so that it never vanishes."""
    backward: Any = node  # PyTorch's nodes can be called, though their type does not say so
    parts = backward(gradient)
    for (below, _), part in zip(node.next_functions, parts if isinstance(parts, tuple) else (parts,), strict=True):
        if below is not None and part is not None and part.any():
            yield below, part / part.abs().max()
