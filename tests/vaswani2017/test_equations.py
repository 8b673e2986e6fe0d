"""The Transformer against NumPy loops written from the paper's equations, and properties that any decoder must have."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from common.contract import Batch, Seq2SeqModel, pad
from common.ids import EOS, START
from common.train.loss import cross_entropy_sum
from papers.vaswani2017.model import (
    AddAndNorm,
    ModelConfig,
    MultiHeadAttention,
    Transformer,
    scaled_dot_product_attention,
    sinusoids,
)

N, D, D_FF, H, D_K, D_V, V = 2, 12, 10, 3, 5, 7, 19
SOURCES = [[4, 9, 3, 11, 5, EOS], [7, 2, EOS], [EOS]]
TARGETS = [[8, 3, EOS], [5, 6, 2, 10, 3, 13, 4, EOS], [2, 9, 7, EOS]]


def config(**changes: object) -> ModelConfig:
    values = dict(N=N, d_model=D, d_ff=D_FF, h=H, d_k=D_K, d_v=D_V, P_drop=0.0, attention_bias=False)
    return ModelConfig(**{**values, "positions": "sinusoidal", "learned_positions": None, **changes})


def build(**changes: object) -> Transformer:
    """A float64 model in eval mode whose every parameter, biases and gains too, is drawn at random."""
    torch.manual_seed(5)
    torch.set_default_dtype(torch.float64)
    try:
        model = Transformer(config(**changes), V).eval()
    finally:
        torch.set_default_dtype(torch.float32)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    return model


def batch(sources: list[list[int]] = SOURCES, targets: list[list[int]] = TARGETS) -> Batch:
    return Batch(*pad(sources), *pad(targets))


class Equations:
    """The model of one sentence pair, position by position and head by head."""

    def __init__(self, model: Transformer, **changes: object) -> None:
        self.config = config(**changes)
        self.w = {name: value.detach().numpy() for name, value in model.named_parameters()}
        self.weights: dict[str, np.ndarray] = {}

    def linear(self, name: str, x: np.ndarray) -> np.ndarray:
        return self.w[f"{name}.weight"] @ x + self.w.get(f"{name}.bias", 0.0)

    def attention(self, name: str, queries: list[np.ndarray], keys: list[np.ndarray], causal: bool) -> list[np.ndarray]:
        c = self.config
        Q = [self.linear(f"{name}.W_Q", x) for x in queries]
        K = [self.linear(f"{name}.W_K", x) for x in keys]
        values = [self.linear(f"{name}.W_V", x) for x in keys]
        self.weights[name] = np.zeros((c.h, len(queries), len(keys)))
        outputs = []
        for i, q in enumerate(Q):
            visible = range(i + 1) if causal else range(len(keys))
            heads = []
            for head in range(c.h):
                k, v = slice(head * c.d_k, (head + 1) * c.d_k), slice(head * c.d_v, (head + 1) * c.d_v)
                energy = np.array([np.exp(q[k] @ K[j][k] / math.sqrt(c.d_k)) for j in visible])
                share = energy / energy.sum()
                self.weights[name][head, i, : len(share)] = share
                heads.append(sum(share[j] * values[j][v] for j in visible))
            outputs.append(self.linear(f"{name}.W_O", np.concatenate(heads)))
        return outputs

    def feed_forward(self, name: str, xs: list[np.ndarray]) -> list[np.ndarray]:
        return [self.linear(f"{name}.W_2", np.maximum(0.0, self.linear(f"{name}.W_1", x))) for x in xs]

    def add_and_norm(self, name: str, xs: list[np.ndarray], sublayer: list[np.ndarray]) -> list[np.ndarray]:
        sums = [x + y for x, y in zip(xs, sublayer, strict=True)]
        gain, bias = self.w[f"{name}.norm.weight"], self.w[f"{name}.norm.bias"]
        return [(z - z.mean()) / np.sqrt(((z - z.mean()) ** 2).mean() + 1e-6) * gain + bias for z in sums]

    def embed(self, words: list[int], side: str) -> list[np.ndarray]:
        vectors = [np.zeros(D) if word == START else self.w["E"][word] * math.sqrt(D) for word in words]
        return [x + self.position(pos, side) for pos, x in enumerate(vectors)]

    def position(self, pos: int, side: str) -> np.ndarray:
        table = self.w.get(f"{side}_positions.PE")
        return position_encoding(pos, D) if table is None else table[min(pos, len(table) - 1)]

    def logits(self, source: list[int], previous: list[int]) -> np.ndarray:
        x = self.embed(source, "source")
        for i in range(self.config.N):
            name = f"encoder.{i}.self_attention"
            x = self.add_and_norm(f"{name}_norm", x, self.attention(name, x, x, causal=False))
            name = f"encoder.{i}.feed_forward"
            x = self.add_and_norm(f"{name}_norm", x, self.feed_forward(name, x))
        y = self.embed(previous, "target")
        for i in range(self.config.N):
            name = f"decoder.{i}.self_attention"
            y = self.add_and_norm(f"{name}_norm", y, self.attention(name, y, y, causal=True))
            name = f"decoder.{i}.source_attention"
            y = self.add_and_norm(f"{name}_norm", y, self.attention(name, y, x, causal=False))
            name = f"decoder.{i}.feed_forward"
            y = self.add_and_norm(f"{name}_norm", y, self.feed_forward(name, y))
        return np.array([self.w["E"] @ state for state in y])


def position_encoding(pos: int, d: int) -> np.ndarray:
    PE = np.zeros(d)
    for i in range(d // 2):
        PE[2 * i] = math.sin(pos / 10000 ** (2 * i / d))
        PE[2 * i + 1] = math.cos(pos / 10000 ** (2 * i / d))
    return PE


VARIANTS = [{}, {"attention_bias": True}, {"positions": "learned", "learned_positions": 5}]


@pytest.mark.parametrize("changes", VARIANTS)
def test_forward_is_the_papers_equations(changes: dict[str, object]) -> None:
    model = build(**changes)
    oracle = Equations(model, **changes)
    computed = model(batch()).detach().numpy()
    for row, (source, target) in enumerate(zip(SOURCES, TARGETS, strict=True)):
        expected = oracle.logits(source, [START, *target[:-1]])
        np.testing.assert_allclose(computed[row, : len(target)], expected, rtol=1e-9, atol=1e-9)


def test_attention_maps_are_the_equations_weights_and_leave_no_hook() -> None:
    model = build()
    oracle = Equations(model)
    maps = model.attention_maps(batch())
    row = 1
    oracle.logits(SOURCES[row], [START, *TARGETS[row][:-1]])
    S, T = len(SOURCES[row]), len(TARGETS[row])
    for layer in range(N):
        drawn = {"encoder": maps.encoder[layer, row, :, :S, :S], "decoder": maps.decoder[layer, row, :, :T, :T]}
        for stack, weights in drawn.items():
            np.testing.assert_allclose(weights, oracle.weights[f"{stack}.{layer}.self_attention"], atol=1e-12)
        weights = maps.source[layer, row, :, :T, :S]
        np.testing.assert_allclose(weights, oracle.weights[f"decoder.{layer}.source_attention"], atol=1e-12)
    assert not any(module._forward_hooks for module in model.modules())


def test_attention_divides_by_the_root_of_d_k() -> None:
    """One query, with a key along it and a key against it: weights e^s : e^-s with s = |q|^2 / sqrt(d_k)."""
    Q, K, value = torch.tensor([[3.0, 0, 0, 4.0]]), torch.tensor([[3.0, 0, 0, 4.0], [-3, 0, 0, -4]]) / 10, torch.eye(2)
    share = 1 / (1 + math.exp(-2 * 2.5 / math.sqrt(4)))
    assert scaled_dot_product_attention(Q, K, value)[0].tolist() == pytest.approx([share, 1 - share])


@pytest.mark.parametrize("changes", VARIANTS)
def test_steps_unrolled_are_forward(changes: dict[str, object]) -> None:
    model, pairs = build(**changes), batch()
    expected = model(pairs)
    state = model.encode(pairs.source, pairs.source_mask)
    for t in range(pairs.target.shape[1]):
        logits, state = model.step(pairs.previous[:, t], state)
        torch.testing.assert_close(logits, expected[:, t], rtol=1e-10, atol=1e-10)


def test_padding_and_company_change_nothing() -> None:
    model = build()
    together = model(batch([*SOURCES, [6] * 14 + [EOS]], [*TARGETS, [3] * 11 + [EOS]]))
    for row, (source, target) in enumerate(zip(SOURCES, TARGETS, strict=True)):
        alone = model(batch([source], [target]))[0]
        torch.testing.assert_close(together[row, : len(target)], alone, rtol=1e-10, atol=1e-10)


def test_a_position_sees_the_words_before_it_and_no_others() -> None:
    model, pairs = build(), batch(SOURCES[:1], [[5, 6, 2, 10, 3, EOS]])
    before = model(pairs)
    for t in range(5):
        changed = pairs.target.clone()
        changed[:, t:] = 17
        after = model(Batch(pairs.source, pairs.source_mask, changed, pairs.target_mask))
        assert torch.equal(after[:, : t + 1], before[:, : t + 1])
        assert not torch.allclose(after[:, t + 1], before[:, t + 1])


def test_start_is_the_zero_vector_and_so_trains_no_row_of_E() -> None:
    model = build()
    vectors = model._embed(torch.tensor([[START, EOS]]), model.E, model.target_positions, first=0)
    torch.testing.assert_close(vectors[0, 0], sinusoids(1, D)[0])
    assert torch.autograd.grad(vectors[0, 0].sum(), model.E)[0].count_nonzero() == 0
    torch.testing.assert_close(vectors[0, 1], model.E[EOS] * math.sqrt(D) + sinusoids(2, D)[1])


def test_gradients_are_those_of_finite_differences() -> None:
    torch.manual_seed(1)
    model = Transformer(ModelConfig(1, 4, 3, 2, 3, 2, 0.0, True, "learned", 3), 5).double()
    names, values = zip(*model.named_parameters(), strict=True)
    pairs = Batch(*pad([[3, EOS], [EOS]]), *pad([[2, 4, EOS], [EOS]]))

    def logits(*parameters: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(model, dict(zip(names, parameters, strict=True)), (pairs,))

    assert torch.autograd.gradcheck(logits, values, fast_mode=True)


def test_state_is_a_value_that_select_and_reorder_gather() -> None:
    model, pairs = build(), batch()
    first = model.encode(pairs.source, pairs.source_mask)
    beam = first.select(torch.tensor([0, 0, 2]))
    logits, after = model.step(torch.tensor([4, 6, 8]), beam)
    swapped = after.reorder(torch.tensor([1, 0, 2]))
    assert all(old.K is new.K and old.V is new.V for old, new in zip(after.source, swapped.source, strict=True))
    continued, _ = model.step(torch.tensor([3, 3, 3]), swapped)
    for row, (sentence, word) in enumerate([(0, 6), (0, 4), (2, 8)]):
        state = first.select(torch.tensor([sentence]))
        expected, state = model.step(torch.tensor([word]), state)
        expected, state = model.step(torch.tensor([3]), state)
        torch.testing.assert_close(continued[row], expected[0], rtol=1e-10, atol=1e-10)
    again, _ = model.step(torch.tensor([4, 6, 8]), beam)
    assert torch.equal(again, logits)
    assert isinstance(model, Seq2SeqModel)


def test_positions_are_the_formula_fixed_and_without_end() -> None:
    expected = np.array([position_encoding(pos, D) for pos in range(600)])
    np.testing.assert_allclose(sinusoids(600, D), expected, atol=1e-12)
    model = build()
    np.testing.assert_allclose(model.source_positions(first=300, count=300), expected[300:], atol=1e-12)
    assert not any("positions" in name for name in model.state_dict())


def test_one_matrix_embeds_both_sides_and_scores() -> None:
    """Every matrix with one row per word is E, and the gradient of a logit reaches E through all three uses."""
    model = Transformer(config(d_model=16), 4321)
    assert [name for name, value in model.named_parameters() if 4321 in value.shape] == ["E"]
    gradient = torch.autograd.grad(model(batch([[7, EOS]], [[8, EOS]]))[0, 1, 9], model.E)[0]
    assert {row for row in range(4321) if gradient[row].any()} == {EOS, 7, 8, 9}


def test_initial_values() -> None:
    """E has standard deviation d^-0.5. The uniform bounds of attention follow the authors' fused matrices."""
    torch.manual_seed(2)
    model = Transformer(config(N=1, d_model=512, d_ff=2048, h=8, d_k=64, d_v=64, attention_bias=True), 3000)
    assert model.E.std().item() == pytest.approx(512**-0.5, rel=0.01)
    assert model.E.mean().item() == pytest.approx(0, abs=1e-3)
    itself, source = model.decoder[0].self_attention, model.decoder[0].source_attention
    spread = {itself: (0.03125,) * 3 + (0.0442,), source: (0.0442, 0.0361, 0.0361, 0.0442)}
    for attention, expected in spread.items():
        maps = (attention.W_Q, attention.W_K, attention.W_V, attention.W_O)
        assert [m.weight.std().item() for m in maps] == pytest.approx(expected, rel=0.01)
        assert not any(m.bias.any() for m in maps)
    feed_forward = model.encoder[0].feed_forward
    assert feed_forward.W_1.weight.abs().max().item() == pytest.approx(math.sqrt(6 / (512 + 2048)), rel=1e-3)
    assert not feed_forward.W_1.bias.any() and not feed_forward.W_2.bias.any()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 2.3426607),
        ({"attention_bias": True}, -11.1311993),
        ({"positions": "learned", "learned_positions": 5}, -16.2735666),
        ({"attention_bias": True, "h": 4, "d_k": 3, "d_v": 3}, -6.2682485),
    ],
)
def test_a_seed_draws_the_weights_it_always_drew(changes: dict[str, object], expected: float) -> None:
    """One number from all parameters in their order. It was computed when the committed results were trained."""
    torch.manual_seed(11)
    flat = torch.cat([value.detach().double().flatten() for value in Transformer(config(**changes), V).parameters()])
    assert (flat @ torch.arange(len(flat)).double().cos()).item() == pytest.approx(expected, abs=1e-4)


def test_dropout_acts_on_sublayer_outputs_and_embedding_sums_only() -> None:
    model = build(P_drop=0.4).train()
    dropouts = [module for module in model.modules() if isinstance(module, nn.Dropout)]
    assert all(module.p == 0.4 for module in dropouts)
    dropped: list[torch.Tensor] = []
    for module in dropouts:
        module.register_forward_hook(lambda _module, inputs, output: dropped.append(output))
    model(batch())
    assert len(dropped) == 2 + 2 * N + 3 * N
    assert all(output.shape[-1] == D and (output == 0).any() for output in dropped)
    for module in dropouts:
        module.p = 0.0
    trained = model(batch())
    assert torch.equal(trained, model.eval()(batch()))


def test_attention_dropout_acts_on_every_weight_of_every_attention() -> None:
    """§6.3: in training each weight is 0 or 1 / (1 - p) times as large. Without P_drop nothing else is dropped."""
    model = build(attention_dropout=0.25)
    whole, dropped = model(batch()), []
    dropouts = [module for module in model.train().modules() if isinstance(module, nn.Dropout) and module.p]
    for module in dropouts:
        module.register_forward_hook(lambda _module, inputs, output: dropped.append((inputs[0], output)))
    assert not torch.allclose(model(batch()), whole)
    assert len(dropouts) == len(dropped) == 3 * N
    for weights, output in dropped:
        torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
        kept = torch.isclose(output, weights / 0.75)
        assert not output[~kept].any()
    torch.testing.assert_close(model.eval()(batch()), whole)


def test_dropout_spares_the_residual_and_takes_the_position_along() -> None:
    """Dropout acts on a sub-layer's output y and on the sum of embedding and position, not on the residual x.

    An output element is x or x + y / (1 - P_drop). An embedding's is 0 or (embedding + PE) / (1 - P_drop).
    """
    layer = AddAndNorm(config(P_drop=0.5)).train()
    layer.norm = nn.Identity()
    x, y = torch.randn(2, 4, 9, D).unbind()
    after = layer(x, y)
    kept = torch.isclose(after, x + 2 * y)
    assert torch.equal(after[~kept], x[~kept]) and 0.3 < kept.float().mean() < 0.7
    model, words = build(P_drop=0.5), torch.tensor([[3, 4, 5, 6, 7]])
    whole = model._embed(words, model.E, model.source_positions, first=0)
    dropped = model.train()._embed(words, model.E, model.source_positions, first=0)
    kept = torch.isclose(dropped, 2 * whole)
    assert not dropped[~kept].any() and 0.2 < kept.double().mean() < 0.8


def test_norms_are_post_norm_only() -> None:
    """2 in an encoder layer, 3 in a decoder layer, none after the stacks. The last operation before E is a norm."""
    model = Transformer(config(), V).eval()
    norms = [module for module in model.modules() if isinstance(module, nn.LayerNorm)]
    assert len(norms) == 5 * N and all(norm.eps == 1e-6 for norm in norms)
    x, _ = model._decode(torch.tensor([[START, 4, 5]]), model.encode(*pad([[3, 2, EOS]])))
    torch.testing.assert_close(x.mean(-1), torch.zeros(1, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.var(-1, unbiased=False), torch.ones(1, 3), atol=1e-4, rtol=0)


def test_d_k_and_d_v_are_free() -> None:
    attention = MultiHeadAttention(config())
    shapes = [tuple(m.weight.shape) for m in (attention.W_Q, attention.W_K, attention.W_V, attention.W_O)]
    assert shapes == [(H * D_K, D), (H * D_K, D), (H * D_V, D), (D, H * D_V)]


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.37])
def test_smoothing_gives_every_other_word_an_equal_share(smoothing: float) -> None:
    """Vaswani2017 §5.4 "Label Smoothing", as in tensor2tensor: 1 - eps for the true word, eps / (V - 1) for others."""
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(3, 4, 6, generator=generator, dtype=torch.float64)
    target = torch.randint(6, (3, 4), generator=generator)
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]], dtype=torch.bool)
    expected = 0.0
    for b, t in mask.nonzero().tolist():
        z = logits[b, t].numpy()
        log_p = z - np.log(np.exp(z).sum())
        q = [1 - smoothing if word == target[b, t] else smoothing / 5 for word in range(6)]
        expected -= sum(q[word] * log_p[word] for word in range(6))
    assert cross_entropy_sum(logits, target, mask, smoothing).item() == pytest.approx(expected, rel=1e-6)
