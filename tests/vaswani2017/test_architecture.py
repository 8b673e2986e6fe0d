"""Figures 1 and 2: what is drawn is the model that was run, so that another model is drawn otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from matplotlib.axes import Axes
from torch import Tensor

from papers.vaswani2017 import model as readable
from papers.vaswani2017.architecture import Run, figures, main, observe
from papers.vaswani2017.model import EncoderLayer, FeedForward
from papers.vaswani2017.paper import PAPER
from papers.vaswani2017.parameters import total

SIZES = ("N=2", "d_model=24", "d_ff=40", "h=3", "d_k=5", "d_v=7", "vocabulary_size=50", "P_drop=0.2")


@pytest.fixture(scope="module")
def base() -> Run:
    return observe(PAPER.recipe("base"))


def small(*overrides: str) -> Run:
    return observe(PAPER.recipe("base", [*SIZES, *overrides]))


def test_base_is_figure_1(base: Run) -> None:
    """The paper's boxes from below, and its arrows: past each sub-layer, and from the encoder's top to the decoder."""
    assert [(group.first, group.count) for groups in base.stacks.values() for group in groups] == [(0, 6), (0, 6)]
    encoder, decoder = (groups[0].blocks for groups in base.stacks.values())
    attention, feed_forward = ["MultiHeadAttention", "AddAndNorm"], ["FeedForward", "AddAndNorm"]
    assert [block.kind for block in encoder] == attention + feed_forward
    assert [block.kind for block in decoder] == attention + attention + feed_forward
    assert [block.masked for block in (*encoder, *decoder)] == [False] * 4 + [True] + [False] * 5
    origins = [[edge.origin for edge in block.edges] for block in decoder]
    assert origins == [
        ["below", "below", "below"],
        ["below", "self_attention"],
        ["self_attention_norm", "encoder.5.feed_forward_norm", "encoder.5.feed_forward_norm"],
        ["self_attention_norm", "source_attention"],
        ["source_attention_norm"],
        ["source_attention_norm", "feed_forward"],
    ]
    assert [edge.role for edge in decoder[2].edges] == ["Q", "K", "V"]


def test_shapes_and_numbers_are_the_models(base: Run) -> None:
    assert base.parameters == total(PAPER.recipe("base"))
    blocks = [block for groups in base.stacks.values() for group in groups for block in group.blocks * group.count]
    assert sum(block.parameters for block in blocks) + 37_000 * 512 == base.parameters
    assert (base.softmax, base.logits) == ("E, 37,000 × 512", "B × T × 37,000")
    assert base.sides["decoder"].positions == "Sinusoids, T × 512"
    run = small()
    decoder = run.stacks["decoder"][0].blocks
    assert [edge.shape for edge in decoder[2].edges] == ["B × T × 24", "B × S × 24", "B × S × 24"]
    assert {block.dropout for block in decoder if block.kind == "AddAndNorm"} == {0.2}
    inside = run.attention
    assert inside.weights == {"Q": "24 × 15", "K": "24 × 15", "V": "24 × 21", "O": "21 × 24"}
    assert inside.projected["K"] == "B × 3 × S × 5" and inside.projected["V"] == "B × 3 × S × 7"
    assert (inside.concat, inside.output, inside.heads) == ("B × S × 21", "B × S × 24", 3)


def test_base_is_figure_2(base: Run) -> None:
    """Eq. (1) in the order of model.py, which scales the queries by 1/sqrt(64) first."""
    operations = base.attention.operations
    assert [operation.reads for operation in operations] == [("Q",), ("0", "K"), ("1", "mask"), ("2",), ("3", "V")]
    assert [operation.function for operation in operations][1:] == ["matmul", "masked_fill", "softmax", "matmul"]
    assert operations[0].number == 8.0
    assert [operation.output for operation in operations][1:4] == ["B × 8 × S × S"] * 3


def test_the_authors_model_is_drawn_with_what_it_has() -> None:
    run = observe(PAPER.recipe("variants/authors-v1-big-enfr", SIZES))
    assert run.sides["encoder"].matrix == "E_source, 50 × 24" and run.softmax == "E_softmax, 50 × 24"
    assert run.sides["encoder"].positions.startswith("WithTargetSpace")
    assert small("positions=learned", "learned_positions=9").sides["decoder"].positions.startswith("LearnedPositions")


def test_another_layer_is_another_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = small()
    wider = FeedForward.__init__

    def first_is_wider(self: FeedForward, config: Any) -> None:
        wider(self, config)
        made.append(self)
        if len(made) == 1:
            self.W_1, self.W_2 = readable.Linear(config.d_model, 99), readable.Linear(99, config.d_model)

    made: list[FeedForward] = []
    monkeypatch.setattr(FeedForward, "__init__", first_is_wider)
    changed = small()
    assert [(group.first, group.count) for group in changed.stacks["encoder"]] == [(0, 1), (1, 1)]
    assert changed.stacks["decoder"] == plain.stacks["decoder"]

    monkeypatch.undo()

    def no_residual(self: EncoderLayer, x: Tensor, source_mask: Tensor) -> Tensor:
        own = self.self_attention(x, self.self_attention.keys_values(x), source_mask)
        return self.feed_forward_norm(own, self.feed_forward(own))

    monkeypatch.setattr(EncoderLayer, "forward", no_residual)
    blocks = small().stacks["encoder"][0].blocks
    assert [block.name for block in blocks] == ["self_attention", "feed_forward", "feed_forward_norm"]
    assert [edge.origin for edge in blocks[2].edges] == ["self_attention", "feed_forward"]

    monkeypatch.undo()

    def unscaled(Q: Tensor, K: Tensor, V: Tensor, mask: Tensor | None, dropout: None) -> Tensor:
        return (Q @ K.transpose(-2, -1)).softmax(-1) @ V

    monkeypatch.setattr(readable, "scaled_dot_product_attention", unscaled)
    assert [operation.function for operation in small().attention.operations] == ["matmul", "softmax", "matmul"]


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Yield the texts that are drawn."""
    texts: list[str] = []
    write = Axes.text

    def noting(self: Axes, x: float, y: float, s: str, *arguments: Any, **settings: Any) -> Any:
        texts.append(s)
        return write(self, x, y, s, *arguments, **settings)

    monkeypatch.setattr(Axes, "text", noting)
    yield texts


def test_the_pictures_say_what_was_observed(written: list[str]) -> None:
    first, second = figures(PAPER.recipe("base", SIZES))
    assert first.png.startswith(b"\x89PNG") and second.png.startswith(b"\x89PNG")
    assert written.count("2\u00d7") == 2 and "3\u00d7" in written
    for text in (
        "Masked\nMulti-Head\nAttention",
        f"self_attention  {24 * (15 + 15 + 21) + 21 * 24:,}",
        f"feed_forward  {2 * 24 * 40 + 40 + 24:,}",
        "E, 50 × 24",
        "B × S × 24, from encoder.1",
        "B × T × 50",
        "dropout 0.2",
        "W_V  24 × 21",
    ):
        assert text in written, text


def test_the_command_writes_both_and_a_page(tmp_path: Any) -> None:
    assert main(["base", *SIZES, "--out", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"architecture.md", "figure-1.png", "figure-2.png"}
    assert "N=2 d_model=24" in (tmp_path / "architecture.md").read_text(encoding="utf-8")
    assert main(["nothing", "--out", str(tmp_path)]) == 2


def test_the_committed_page_is_current() -> None:
    kept = (PAPER.root / "results" / "architecture.md").read_text(encoding="utf-8")
    assert all(figure.caption in kept for figure in figures(PAPER.recipe("base")))
