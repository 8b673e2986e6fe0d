"""Figures 1 and 2 of Vaswani2017, drawn from a model that is built and run.

    python -m papers.vaswani2017.architecture base          # writes results/architecture.md, figure-1.png, figure-2.png
    python -m papers.vaswani2017.architecture base N=2 --out FOLDER

The model runs once without memory (PyTorch's meta device), and hooks note which module reads and makes which tensors.
All names, numbers, shapes and arrows and the order of the boxes are what they noted. Only the places on the page are
laid down here. Another model gives another picture.
"""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from common.contract import Batch
from common.files import write_whole
from common.recipe import Recipe
from common.report.page import Figure
from common.run.cli import Parser, guarded, split_overrides, utf8_output
from papers.vaswani2017.drawing import draw_attention, draw_model
from papers.vaswani2017.model import MultiHeadAttention, Transformer
from papers.vaswani2017.paper import PAPER

SENTENCES, SOURCE, TARGET = 10_007, 100_003, 100_019
"""Sizes of the run. No size of a model is like them, so that a tensor's shape tells them."""
LETTERS = {SENTENCES: "B", SOURCE: "S", TARGET: "T"}


def main(arguments: list[str] | None = None) -> int:
    """Draw both figures. Return the exit status as common.run.cli does."""
    utf8_output()
    parser = Parser(prog="python -m papers.vaswani2017.architecture", description="Figures 1 and 2 from the model.")
    parser.add_argument("words", nargs="*", metavar="RECIPE KEY=VALUE", help="a recipe (default: base) and overrides")
    parser.add_argument("--out", type=Path, default=PAPER.root / "results", help="folder (default: results)")
    options = parser.parse_intermixed_args(arguments)
    overrides, names = split_overrides(options.words)
    if len(names) > 1:
        parser.error(f"unrecognized arguments: {' '.join(names[1:])}")

    def work() -> None:
        recipe = PAPER.recipe(names[0] if names else "base", overrides)
        drawn = figures(recipe)
        for figure in drawn:
            write_whole(options.out / f"{figure.name}.png", figure.png)
        blocks = [f"## {one.title}\n\n![{one.title}]({one.name}.png)\n\n{one.caption}" for one in drawn]
        head = f"# The model\n\nMade by `{' '.join([parser.prog, recipe.name, *overrides])}`."
        write_whole(options.out / "architecture.md", "\n\n".join([head, *blocks]) + "\n")
        print(f"written: {options.out}/architecture.md, figure-1.png, figure-2.png", file=sys.stderr)

    return guarded(work, parser.prog)


def figures(recipe: Recipe) -> list[Figure]:
    """Draw Figures 1 and 2 of a recipe's model."""
    run = observe(recipe)
    of = f"of `{recipe.name}`"
    first = (
        f"The model {of}. Beside each arrow from block to block is the shape of the tensor that it carries. In "
        "each box are the name of the module and the number of its parameters, or the name and size of a matrix. Loss "
        "and search compute the softmax."
    )
    second = (
        f"`{run.attention.name}` {of}: on the left the functions that it calls, in their order, with the shapes of "
        "their results. One matrix projects the queries of all h heads, one the keys and one the values."
    )
    if run.attention.operations[0].number is not None:
        second += (
            " The queries are scaled before the product, as in v1.0. The paper's figure has the product first, which "
            "gives the same weights."
        )
    title = "Figure 2: Scaled Dot-Product Attention and Multi-Head Attention"
    return [
        Figure("figure-1", f"Figure 1: {recipe.title}", first, draw_model(run)),
        Figure("figure-2", title, second, draw_attention(run.attention)),
    ]


# ----------------------------------------------------------------------------------------------------------------
# What a run shows


@dataclass(frozen=True)
class Edge:
    """A tensor that a block reads."""

    role: str
    """`Q`, `K`, `V` of an attention. Otherwise the name of the argument."""
    origin: str
    """What made it: a block's name in the same layer, `below`, or the path of a block elsewhere."""
    shape: str


@dataclass(frozen=True)
class Block:
    """A part of a layer: a sub-layer, or the sum with its norm."""

    name: str
    kind: str
    """Name of the module's class."""
    parameters: int
    dropout: float | None
    masked: bool
    """Whether each position has a row of the mask to itself, which can hide later positions."""
    edges: tuple[Edge, ...]
    output: str


@dataclass(frozen=True)
class Group:
    """Neighbouring layers of a stack that are alike."""

    first: int
    count: int
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Side:
    """What makes vectors of the words of one side."""

    words: str
    matrix: str
    """Name and size of the matrix of embeddings."""
    positions: str
    """Kind and shape of the positional encodings."""
    dropout: float
    output: str


@dataclass(frozen=True)
class Operation:
    """A function that an attention calls."""

    function: str
    """PyTorch's name of it."""
    number: float | None
    """The number by which it divides, if it does."""
    reads: tuple[str, ...]
    """`Q`, `K`, `V`, `mask`, or the place of an earlier operation."""
    output: str


@dataclass(frozen=True)
class Attention:
    """One attention, from the inside."""

    name: str
    heads: int
    inputs: Mapping[str, str]
    """Shapes of what W_Q, W_K and W_V read, by `Q`, `K`, `V`."""
    projected: Mapping[str, str]
    """Shapes of queries, keys, values and mask, by `Q`, `K`, `V`, `mask`."""
    weights: Mapping[str, str]
    """Sizes of the matrices W_Q, W_K, W_V, W_O."""
    operations: Sequence[Operation]
    """From the queries to the heads' values, in order."""
    concat: str
    output: str


@dataclass(frozen=True)
class Run:
    """One run of a model."""

    parameters: int
    stacks: Mapping[str, Sequence[Group]]
    sides: Mapping[str, Side]
    """By `encoder`, `decoder`."""
    softmax: str
    """Name and size of the matrix before the softmax."""
    logits: str
    attention: Attention


def shape(size: Sequence[int]) -> str:
    """Return `B × S × 512`."""
    return " × ".join(LETTERS.get(length, f"{length:,}") for length in size)


@dataclass
class Call:
    """A call of a module."""

    module: nn.Module
    arguments: tuple[Any, ...]
    output: Any


class Functions(TorchFunctionMode):
    """Notes each call of a function of PyTorch: its name, its arguments, its result."""

    def __init__(self) -> None:
        super().__init__()
        # All results are kept, so that no two tensors of a run have the same id.
        self.calls: list[tuple[str, tuple[Any, ...], Any]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the function and note it."""
        result = func(*args, **(kwargs or {}))
        self.calls.append((getattr(func, "__name__", ""), args, result))
        return result


@dataclass
class Notes:
    """What the hooks note in a run."""

    modules: dict[str, Call] = field(default_factory=dict)
    """The last call of each module, by path. The dropout of the embeddings is under `encoder` and `decoder`."""
    made: dict[int, str] = field(default_factory=dict)
    """By a tensor's id the path of the part of a layer that made it, or `encoder` or `decoder` for embeddings."""
    inside: tuple[int, int] = (0, 0)
    """The functions that the first attention of the encoder called: places in `Functions.calls`."""


def observe(recipe: Recipe) -> Run:
    """Build the readable model of a recipe, run it and return what it did."""
    with torch.device("meta"):
        model = PAPER.build_model(replace(recipe, run=replace(recipe.run, path="readable"))).eval()
        ids = [torch.zeros(SENTENCES, length, dtype=torch.long) for length in (SOURCE, TARGET)]
        batch = Batch(ids[0], ids[0].bool(), ids[1], ids[1].bool())
        functions, notes = Functions(), Notes()
        parts = {part for layer in (*model.encoder, *model.decoder) for part in layer.children()} | {model.dropout}
        hooks = [
            module.register_forward_hook(_noting(notes, path, model, parts)) for path, module in model.named_modules()
        ]
        first = "encoder.0.self_attention"
        hooks += _around(model.get_submodule(first), notes, functions)
        try:
            with torch.no_grad(), functions:
                logits = model(batch)
        finally:
            for hook in hooks:
                hook.remove()
    names = {id(value): f"{name}, {shape(value.shape)}" for name, value in model.named_parameters()}
    matrices, words = model.matrices, dict(zip(("encoder", "decoder"), map(shape, (t.shape for t in ids)), strict=True))
    sides = {
        stack: _side(notes, stack, names[id(matrix)], words[stack], path)
        for stack, matrix, path in (
            ("encoder", matrices.source, "source_positions"),
            ("decoder", matrices.target, "target_positions"),
        )
    }
    return Run(
        parameters=sum(value.numel() for value in model.parameters()),
        stacks={stack: _groups(model, stack, notes) for stack in sides},
        sides=sides,
        softmax=names[id(matrices.softmax)],
        logits=shape(logits.shape),
        attention=_attention(first, notes, functions.calls[slice(*notes.inside)]),
    )


def _noting(notes: Notes, path: str, model: Transformer, parts: Collection[nn.Module]) -> Callable[..., None]:
    """Return a hook that notes the calls of the module at a path. parts: modules that count as makers of tensors."""

    def note(module: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
        own = path
        if module is model.dropout:  # called for each side, after its positions
            own = "decoder" if "target_positions" in notes.modules else "encoder"
        notes.modules[own] = Call(module, arguments, output)
        if module in parts:
            notes.made[id(output)] = own

    return note


def _around(module: nn.Module, notes: Notes, functions: Functions) -> list[Any]:
    """Return hooks that note which functions a module called."""

    def before(*_: Any) -> None:
        notes.inside = (len(functions.calls), 0)

    def after(*_: Any) -> None:
        notes.inside = (notes.inside[0], len(functions.calls))

    return [module.register_forward_pre_hook(before), module.register_forward_hook(after)]


def _side(notes: Notes, stack: str, matrix: str, words: str, path: str) -> Side:
    positions, dropped = notes.modules[path], notes.modules[stack]
    assert isinstance(dropped.module, nn.Dropout)
    kind = f"{type(positions.module).__name__}, {shape(positions.output.shape)}"
    return Side(words, matrix, kind, dropped.module.p, shape(dropped.output.shape))


def _groups(model: Transformer, stack: str, notes: Notes) -> list[Group]:
    """Return the layers of a stack, with those that are alike together."""
    layers = [_blocks(layer, stack, index, notes) for index, layer in enumerate(model.get_submodule(stack).children())]
    groups, first = [], 0
    for blocks, alike in groupby(layers):
        count = len(list(alike))
        groups.append(Group(first, count, blocks))
        first += count
    return groups


def _blocks(layer: nn.Module, stack: str, index: int, notes: Notes) -> tuple[Block, ...]:
    """Return the blocks of a layer in the order of their calls."""
    own = f"{stack}.{index}"
    paths = [path for path in notes.modules if path.rpartition(".")[0] == own]
    before = stack
    if index:
        before = [path for path in notes.modules if path.rpartition(".")[0] == f"{stack}.{index - 1}"][-1]

    def origin(tensor: Tensor) -> str:
        made = notes.made[id(tensor)]
        return "below" if made == before else made.removeprefix(f"{own}.")

    blocks = []
    for path in paths:
        call = notes.modules[path]
        module, masked = call.module, False
        if isinstance(module, MultiHeadAttention):
            read = {letter: notes.modules[f"{path}.W_{letter}"].arguments[0] for letter in "QKV"}
            mask = call.arguments[2]
            masked = mask is not None and mask.shape[-2] != 1
        else:
            read = dict(zip(inspect.signature(module.forward).parameters, call.arguments, strict=True))
        edges = tuple(Edge(role, origin(tensor), shape(tensor.shape)) for role, tensor in read.items())
        dropout = next((part.p for part in module.modules() if isinstance(part, nn.Dropout)), None)
        count = sum(value.numel() for value in module.parameters())
        name = path.removeprefix(f"{own}.")
        blocks.append(Block(name, type(module).__name__, count, dropout, masked, edges, shape(call.output.shape)))
    return tuple(blocks)


SHOWN = {"div", "true_divide", "__truediv__", "mul", "__mul__", "matmul", "__matmul__", "masked_fill", "softmax"}
"""Functions that are operations of Eq. (1). The others only change the shape."""


def _attention(path: str, notes: Notes, calls: Sequence[tuple[str, tuple[Any, ...], Any]]) -> Attention:
    """Return an attention from the functions that it called."""
    call = notes.modules[path]
    parts = {letter: notes.modules[f"{path}.W_{letter}"] for letter in "QKVO"}
    assert isinstance(call.module, MultiHeadAttention)
    _, attended, mask = call.arguments
    known = {id(parts["Q"].output): "Q", id(attended.K): "K", id(attended.V): "V", id(mask): "mask"}
    operations: list[Operation] = []
    queries = parts["Q"].output
    for function, arguments, result in calls:
        tensors = [value for value in arguments if isinstance(value, Tensor)]
        reads = tuple(known[id(tensor)] for tensor in tensors if id(tensor) in known)
        if not isinstance(result, Tensor) or not reads:
            continue
        if function not in SHOWN:
            known.setdefault(id(result), reads[0])
            continue
        if not operations:
            queries = tensors[0]
        number = next((value for value in arguments if isinstance(value, float) and math.isfinite(value)), None)
        known[id(result)] = str(len(operations))
        operations.append(Operation(function.strip("_"), number, reads, shape(result.shape)))
    given = {"Q": queries, "K": attended.K, "V": attended.V, "mask": mask}
    return Attention(
        name=path,
        heads=call.module.h,
        inputs={letter: shape(parts[letter].arguments[0].shape) for letter in "QKV"},
        projected={name: shape(tensor.shape) for name, tensor in given.items() if tensor is not None},
        weights={letter: shape(part.module.get_parameter("weight").T.shape) for letter, part in parts.items()},
        operations=operations,
        concat=shape(parts["O"].arguments[0].shape),
        output=shape(call.output.shape),
    )


if __name__ == "__main__":
    sys.exit(main())
