"""RNNsearch as one would write it in plain PyTorch: the peer that benchmarks.train measures beside fast.py.

A loop over words with autograd and stacked gates; the words' products and the output layer stand outside it. The model
computes the function of papers/bahdanau2014/model.py with step order R1, the direct readout and the paper's biases
(tests/bahdanau2014/test_plain.py).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.contract import Batch
from common.errors import UserError
from common.recipe import Recipe


class Cell(nn.Module):
    """Gated units whose reset gate acts before the matrix, which torch's GRU does not have."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.input = nn.Linear(inputs, 3 * hidden)  # candidate, update gate, reset gate
        self.gates = nn.Linear(hidden, 2 * hidden, bias=False)
        self.candidate = nn.Linear(hidden, hidden, bias=False)

    def forward(self, projected: Tensor, h: Tensor) -> Tensor:
        """Compute the next state (B, n) from `input` of a word (B, 3n) and a state (B, n)."""
        n = h.shape[-1]
        z, r = torch.sigmoid(projected[:, n:] + self.gates(h)).chunk(2, dim=-1)
        candidate = torch.tanh(projected[:, :n] + self.candidate(r * h))
        return torch.lerp(h, candidate, z)

    def read(self, words: Tensor, mask: Tensor, backwards: bool = False) -> Tensor:
        """Compute the states (B, S, n) of words (B, S, m) under their mask (B, S)."""
        projected = self.input(words).unbind(1)
        real = mask.unsqueeze(2).unbind(1)
        h = words.new_zeros(len(words), self.candidate.in_features)
        states: list[Tensor] = [h] * len(projected)
        for i in reversed(range(len(projected))) if backwards else range(len(projected)):
            h = torch.where(real[i], self(projected[i], h), h)
            states[i] = h
        return torch.stack(states, dim=1)


class PlainRNNsearch(nn.Module):
    """The model of Bahdanau et al. 2014. n hidden units, m embedding, a alignment units, l maxout units, V words."""

    def __init__(self, n: int, m: int, a: int, l: int, V: int) -> None:  # noqa: E741
        super().__init__()
        self.source, self.target = nn.Embedding(V, m), nn.Embedding(V, m)
        self.forward_rnn, self.backward_rnn, self.decoder = Cell(m, n), Cell(m, n), Cell(m, n)
        self.initial = nn.Linear(n, n)
        self.query, self.keys = nn.Linear(n, a, bias=False), nn.Linear(2 * n, a)
        self.energy = nn.Linear(a, 1, bias=False)
        self.context = nn.Linear(2 * n, 3 * n, bias=False)
        self.output_state, self.output_word = nn.Linear(n, 2 * l), nn.Linear(m, 2 * l, bias=False)
        self.output_context, self.softmax = nn.Linear(2 * n, 2 * l, bias=False), nn.Linear(l, V)

    def forward(self, batch: Batch) -> Tensor:
        """Compute the teacher-forced logits (B, T, V)."""
        words = self.source(batch.source)
        forwards = self.forward_rnn.read(words, batch.source_mask)
        backwards = self.backward_rnn.read(words, batch.source_mask, backwards=True)
        h = torch.cat([forwards, backwards], dim=-1)  # (B, S, 2n)
        keys, padding = self.keys(h), ~batch.source_mask  # (B, S, a), (B, S)
        previous = F.pad(self.target(batch.target[:, :-1]), [0, 0, 1, 0])  # (B, T, m), zeros before the first word
        projected = self.decoder.input(previous).unbind(1)
        s, c = torch.tanh(self.initial(backwards[:, 0])), h[:, 0]
        states, contexts = [], []
        for i, words_i in enumerate(projected):
            if i > 0:
                s = self.decoder(words_i + self.context(c), s)
            energies = self.energy(torch.tanh(self.query(s).unsqueeze(1) + keys)).squeeze(2)  # (B, S)
            alpha = torch.softmax(energies.masked_fill(padding, -torch.inf), dim=-1)
            c = torch.bmm(alpha.unsqueeze(1), h).squeeze(1)  # (B, 2n)
            states.append(s)
            contexts.append(c)
        units = self.output_state(torch.stack(states, dim=1)) + self.output_word(previous)
        units = units + self.output_context(torch.stack(contexts, dim=1))
        return self.softmax(units.unflatten(-1, (-1, 2)).amax(dim=-1))


def build(recipe: Recipe) -> PlainRNNsearch:
    """Build the model of a recipe, with PyTorch's own first weights.

    Raise UserError if the recipe has another variant of the model.
    """
    model = recipe.model
    if (model.architecture, model.step_order, model.readout, model.biases) != ("search", "R1", "direct", "paper"):
        raise UserError(f"{recipe.name}: the plain model is written for search, R1, direct and paper only")
    return PlainRNNsearch(model.hidden, model.embedding, model.alignment, model.maxout, recipe.text.vocabulary_size)
