"""The model against the paper's equations, written out here in plain NumPy, one sentence and one word at a time."""

import ast
import math
from dataclasses import fields, replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from common.contract import Batch, DecoderState, Seq2SeqModel, pad
from common.ids import EOS, START
from papers.bahdanau2014 import model as model_file
from papers.bahdanau2014.model import ModelConfig, RNNsearch

ARCHITECTURES = ("search", "encdec")
ORDERS = ("R1", "R2", "R3")
SIZES = {"hidden": 5, "embedding": 3, "alignment": 7, "maxout": 4, "factored_size": 6}
WORDS = 11
SOURCES = [[4, 2, 9, 3, EOS], [8, EOS], [1, 10, 5, EOS]]
TARGETS = [[7, 3, EOS], [5, 6, 2, 8, 1, EOS], [EOS]]
PAIRS = list(zip(SOURCES, TARGETS, strict=True))


def config(architecture="search", order="R1", readout="direct", biases="paper"):
    return ModelConfig(architecture=architecture, step_order=order, readout=readout, biases=biases, **SIZES)


def random_model(*arguments, **options):
    """Make a model in float64 without a zero parameter, so that every term of every sum matters."""
    torch.manual_seed(7)
    model = RNNsearch(config(*arguments, **options), WORDS).double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, 0.0, 0.6)
    return model


def batch(sources=SOURCES, targets=TARGETS):
    return Batch(*pad(sources), *pad(targets))


# The oracle ------------------------------------------------------------------------------------------------------


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


class Oracle:
    """Appendix A literally: vectors of one sentence, no masks, no batch, matrices looked up by their names."""

    def __init__(self, model):
        self.config = model.config
        self.weights = {name: value.detach().numpy() for name, value in model.named_parameters()}

    def get(self, name):
        return self.weights.get(name, 0.0)

    def word(self, side, index):
        return self.get(side + "E")[index] + self.get(side + "b_E")

    def unit(self, part, x, s, c=None):
        def total(suffix, state):
            W, U, C, b = (self.get(f"{part}.{letter}{suffix}") for letter in "WUCb")
            return W @ x + U @ state + b + (0.0 if c is None else C @ c)

        z, r = sigmoid(total("_z", s)), sigmoid(total("_r", s))
        return (1 - z) * s + z * np.tanh(total("", r * s))

    def read(self, part, words):
        h, states = np.zeros(self.config.hidden), []
        for word in words:
            h = self.unit(part, self.word("encoder.embedding.", word), h)
            states.append(h)
        return states

    def annotate(self, source):
        forward = self.read("encoder.forward_rnn", source)
        if self.config.architecture == "encdec":
            return forward, forward[-1]
        backward = self.read("encoder.backward_rnn", source[::-1])[::-1]
        return [np.concatenate(pair) for pair in zip(forward, backward, strict=True)], backward[0]

    def context(self, s, h):
        if self.config.architecture == "encdec":
            return h[-1], None
        W_a, U_a, v_a, b_a = (self.get(f"align.{name}") for name in ("W_a", "U_a", "v_a", "b_a"))
        e = [v_a @ np.tanh(W_a @ s + U_a @ h_j + b_a) for h_j in h]
        alpha = np.exp(e) / np.sum(np.exp(e))
        return sum(weight * h_j for weight, h_j in zip(alpha, h, strict=True)), alpha

    def logits(self, s, y, c):
        U_o, V_o, C_o, b_o = (self.get(f"readout.{name}") for name in ("U_o", "V_o", "C_o", "b_o"))
        pairs = U_o @ s + V_o @ y + C_o @ c + b_o
        t = np.array([max(pairs[2 * j], pairs[2 * j + 1]) for j in range(self.config.maxout)])
        if self.config.readout == "direct":
            return self.get("readout.W_o") @ t + self.get("readout.b_softmax")
        return (self.get("readout.W_o2") @ (self.get("readout.W_o1") @ t) + self.get("readout.b_softmax"))[:WORDS]

    def translate(self, source, target):
        """Return the logits (T, V) and alignments (T, S) of one pair, with each order of operations written out."""
        h, end = self.annotate(source)
        s = np.tanh(self.get("W_s") @ end + self.get("b_s"))
        y = np.zeros(self.config.embedding)
        rows, alphas = [], []
        for word in target:
            c, alpha = self.context(s, h)
            if self.config.step_order == "R1":
                rows.append(self.logits(s, y, c))
                y = self.word("embedding.", word)
                s = self.unit("decoder", y, s, c)
            else:
                new = self.unit("decoder", y, s, c)
                rows.append(self.logits(new if self.config.step_order == "R2" else s, y, c))
                s, y = new, self.word("embedding.", word)
            alphas.append(alpha)
        return np.array(rows), alphas


@pytest.mark.parametrize(
    "architecture, order, readout, biases",
    list(product(ARCHITECTURES, ORDERS, ("direct", "factored"), ("none", "paper", "authors"))),
)
def test_forward_equals_the_equations(architecture, order, readout, biases):
    model = random_model(architecture, order, readout, biases)
    logits = model(batch()).detach().numpy()
    assert logits.shape == (3, 6, WORDS)
    for row, (source, target) in enumerate(PAIRS):
        expected, _ = Oracle(model).translate(source, target)
        np.testing.assert_allclose(logits[row, : len(target)], expected, atol=1e-12)


@pytest.mark.parametrize("order", ORDERS)
def test_alignment_equals_the_equations(order):
    model = random_model("search", order)
    alpha = model.alignment(batch()).detach().numpy()
    assert alpha.shape == (3, 6, 5)
    for row, (source, target) in enumerate(PAIRS):
        _, expected = Oracle(model).translate(source, target)
        np.testing.assert_allclose(alpha[row, : len(target), : len(source)], expected, atol=1e-12)
        assert (alpha[row, :, len(source) :] == 0).all()


def test_the_three_orders_differ():
    results = [random_model("search", order)(batch()) for order in ORDERS]
    for left, right in ((0, 1), (0, 2), (1, 2)):
        assert (results[left] - results[right]).abs().max() > 0.01


# The protocol ----------------------------------------------------------------------------------------------------


def unroll(model, state, targets):
    """Return the logits (N, T, V) of feeding the targets (N, T) word by word."""
    previous, rows = torch.full_like(targets[:, 0], START), []
    for word in targets.unbind(1):
        logits, state = model.step(previous, state)
        rows.append(logits)
        previous = word
    return torch.stack(rows, dim=1)


@pytest.mark.parametrize("architecture, order", list(product(ARCHITECTURES, ORDERS)))
def test_steps_unrolled_equal_forward(architecture, order):
    model, pairs = random_model(architecture, order), batch()
    assert isinstance(model, Seq2SeqModel)
    unrolled = unroll(model, model.encode(pairs.source, pairs.source_mask), pairs.target)
    torch.testing.assert_close(unrolled, model(pairs))


@pytest.mark.parametrize("architecture, order", list(product(ARCHITECTURES, ORDERS)))
def test_select_and_reorder_follow_their_rows(architecture, order):
    """Two hypotheses per sentence that change places continue as if each had been fed alone."""
    model = random_model(architecture, order)
    ids, mask = pad(SOURCES)
    beam: DecoderState = model.encode(ids, mask).select(torch.tensor([0, 0, 1, 1, 2, 2]))
    histories = torch.tensor([[3, 4], [5, 6], [7, 8], [9, 2], [4, 4], [1, 3]])
    _, beam = model.step(torch.full((6,), START), beam)
    _, beam = model.step(histories[:, 0], beam)
    rows = torch.tensor([1, 0, 2, 2, 5, 5])
    logits, beam = model.step(histories[:, 1], beam.reorder(rows))
    logits, _ = model.step(torch.tensor([10, 9]), beam.select(torch.tensor([4, 1])))
    for got, sentence, fed in ((logits[0], 2, [1, 4, 10]), (logits[1], 0, [3, 6, 9])):
        single = Batch(*pad([SOURCES[sentence]]), *pad([[*fed, EOS]]))
        torch.testing.assert_close(got, model(single)[0, 3])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_neither_padding_nor_neighbours_change_a_sentence(architecture):
    model, pairs = random_model(architecture), batch()
    together = model(pairs)
    wider = Batch(*(nn.functional.pad(getattr(pairs, field.name), (0, 4)) for field in fields(Batch)))
    torch.testing.assert_close(model(wider)[:, : pairs.target.shape[1]], together)
    for row, (source, target) in enumerate(PAIRS):
        torch.testing.assert_close(model(batch([source], [target]))[0], together[row, : len(target)])


def test_what_stands_under_the_mask_is_never_read():
    model, pairs = random_model("search"), batch()
    other = replace(pairs, source=torch.where(pairs.source_mask, pairs.source, 6))
    torch.testing.assert_close(model(other), model(pairs))


def test_later_words_do_not_change_earlier_ones():
    model, pairs = random_model("search"), batch([SOURCES[0]], [TARGETS[1]])
    changed = batch([SOURCES[0]], [[*TARGETS[1][:3], 9, 9, EOS]])
    difference = (model(pairs) - model(changed)).abs().amax(-1)[0]
    assert (difference[:4] == 0).all() and (difference[4:] > 0).all()


# Initialisation and gradients ------------------------------------------------------------------------------------


def total_loss(model, pairs):
    logits, words = model(pairs)[pairs.target_mask], pairs.target[pairs.target_mask]
    return nn.functional.cross_entropy(logits, words, reduction="sum")


def test_a_fresh_model_attends_evenly_and_knows_nothing():
    torch.manual_seed(3)
    model, pairs = RNNsearch(config(), WORDS), batch()
    lengths = pairs.source_mask.sum(1, keepdim=True)
    expected = (pairs.source_mask / lengths).unsqueeze(1).expand(3, 6, 5)
    torch.testing.assert_close(model.alignment(pairs), expected)
    loss = total_loss(model, pairs)
    assert loss.item() / pairs.target_mask.sum().item() == pytest.approx(math.log(WORDS), abs=1e-3)
    loss.backward()
    assert not model.align.W_a.grad.any() and not model.align.U_a.grad.any()
    assert model.align.v_a.grad.all()


def test_initial_distributions():
    torch.manual_seed(4)
    sizes = {"hidden": 60, "embedding": 50, "alignment": 40, "maxout": 30, "factored_size": 70}
    model = RNNsearch(ModelConfig("search", step_order="R1", readout="factored", biases="paper", **sizes), 80)
    kinds = {"orthogonal": 0, "zero": 0, 0.001: 0, 0.01: 0}
    for name, parameter in model.named_parameters():
        leaf = name.rpartition(".")[2]
        if leaf in ("U", "U_z", "U_r"):
            kind = "orthogonal"
            torch.testing.assert_close(parameter @ parameter.T, torch.eye(60), atol=1e-5, rtol=0)
        elif leaf == "v_a" or leaf.startswith("b"):
            kind = "zero"
            assert not parameter.any()
        else:
            kind = 0.001 if leaf in ("W_a", "U_a") else 0.01
            assert parameter.std().item() == pytest.approx(kind, rel=0.1)
            assert abs(parameter.mean().item()) < 0.1 * kind
        kinds[kind] += 1
    assert kinds == {"orthogonal": 9, "zero": 14, 0.001: 2, 0.01: 20}


@pytest.mark.parametrize(
    "architecture, readout, biases, expected",
    [
        ("search", "direct", "none", -3.4348983),
        ("search", "direct", "paper", -1.2752903),
        ("search", "factored", "authors", 6.3223322),
        ("encdec", "direct", "paper", 0.0991688),
        ("encdec", "factored", "authors", -4.1028828),
    ],
)
def test_a_seed_draws_the_weights_it_always_drew(architecture, readout, biases, expected):
    """One number from all parameters in their order. It was computed when the committed results were trained."""
    torch.manual_seed(11)
    model = RNNsearch(config(architecture, "R1", readout, biases), WORDS)
    flat = torch.cat([parameter.detach().double().flatten() for parameter in model.parameters()])
    assert (flat @ torch.arange(len(flat)).double().cos()).item() == pytest.approx(expected, abs=1e-4)


def test_parameters_keep_their_names_and_order():
    """Checkpoints are loaded by the names, optimizer states by the order."""
    units = ["W", "W_z", "W_r", "U", "U_z", "U_r", "b", "b_z", "b_r"]
    decoder = [*units[:6], "C", "C_z", "C_r", *units[6:]]
    assert [name for name, _ in random_model("search", "R1", "direct", "paper").named_parameters()] == [
        "W_s",
        "b_s",
        "encoder.embedding.E",
        *(f"encoder.{direction}_rnn.{name}" for direction in ("forward", "backward") for name in units),
        *(f"align.{name}" for name in ("W_a", "U_a", "v_a", "b_a")),
        "embedding.E",
        *(f"decoder.{name}" for name in decoder),
        *(f"readout.{name}" for name in ("U_o", "V_o", "C_o", "b_o", "W_o", "b_softmax")),
    ]
    factored = [name for name, _ in random_model("encdec", "R1", "factored", "authors").named_parameters()]
    assert {"encoder.embedding.b_E", "embedding.b_E", "readout.W_o1", "readout.W_o2"} <= set(factored)
    assert not [name for name in factored if "backward" in name or "align" in name or name.endswith(("b_z", "b_r"))]


@pytest.mark.parametrize("architecture, order", list(product(ARCHITECTURES, ORDERS)))
def test_gradients_equal_finite_differences(architecture, order):
    torch.manual_seed(5)
    sizes = {"hidden": 2, "embedding": 3, "alignment": 4, "maxout": 1, "factored_size": 2}
    settings = ModelConfig(architecture, step_order=order, readout="factored", biases="authors", **sizes)
    model = RNNsearch(settings, 4).double()
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    pairs = Batch(*pad([[2, 3, EOS], [3, EOS]]), *pad([[3, EOS], [2, 1, EOS]]))
    names = [name for name, _ in model.named_parameters()]

    def logits(*values):
        return torch.func.functional_call(model, dict(zip(names, values, strict=True)), (pairs,))[pairs.target_mask]

    values = [parameter.detach().requires_grad_() for parameter in model.parameters()]
    assert torch.autograd.gradcheck(logits, values, fast_mode=True)


def test_runs_in_bfloat16():
    model, pairs = random_model("search").float(), batch()
    with torch.autocast("cpu", torch.bfloat16):
        low = model(pairs)
    torch.testing.assert_close(low.float(), model(pairs), atol=0.3, rtol=0.1)


def test_no_torch_gru():
    """PyTorch's GRU applies the reset gate after the product U s, which is another function, as the notebook shows."""
    folder = Path(model_file.__file__).parent
    for path in {*folder.glob("*.py")} - {folder / "notebook.py"}:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
            assert "gru" not in name.lower(), f"{path.name}:{node.lineno}"
