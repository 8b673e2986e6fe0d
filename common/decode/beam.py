"""One batched beam search for any model behind the `Seq2SeqModel` protocol; beam 1 is greedy decoding.

Two searches, told apart by what a finished hypothesis does to the beam:

`shrinking` is Bahdanau2014's, GroundHog `BeamSearch.search`. The n best continuations are kept by cumulative
log-probability; each that ends in EOS is finished and n falls by one; the sentence is over at n = 0. Length
enters only afterwards, when the finished are ranked.
`fixed` is Vaswani2017 §6.1, tensor2tensor v1.0 `beam_search`. Of the 2k best continuations the k best without EOS
stay alive, and those with EOS compete, by penalised score, for k finished places. The sentence is over when its
last finished place beats every score still possible. tensor2tensor sends beam 1 to greedy decoding; so do we.

Where we differ from the authors' code: the length limit and the stop belong to each sentence, not to the padded
batch (tensor2tensor), so the company a sentence is decoded in never changes its translation; a continuation of
probability zero is never kept; and where GroundHog fails because nothing finished, the unfinished are returned.

Letters: B sentences still searched, k rows per sentence, N = B k rows, C = 2k candidates, V target words,
S source positions, t words so far. A row without a hypothesis is dead: its score is -inf.
"""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from common.contract import DecoderState, Seq2SeqModel
from common.errors import UserError
from common.ids import EOS, START, UNK
from common.recipe import Decode

WIDEST = 500
"""GroundHog doubles the beam no further once it has reached this."""


@dataclass(frozen=True)
class Hypothesis:
    """One translation of one sentence."""

    tokens: tuple[int, ...]
    """Target ids without EOS."""
    score: float
    """What hypotheses are ranked by: the sum of natural-log probabilities, EOS included, after the length penalty."""
    finished: bool
    """False if the length limit came before EOS; only where no hypothesis of the sentence finished."""


@dataclass(frozen=True)
class BeamState:
    """Every sentence still searched, k rows each."""

    sentences: list[int]
    """B positions in the batch that was asked for."""
    minimum: Tensor
    """Steps for which EOS is barred, (B,)."""
    width: Tensor
    """How many of the best candidates count, (B,); falls with every finished hypothesis if shrinking."""
    scores: Tensor
    """Cumulative log-probabilities, float32, best first, (B, k)."""
    tokens: Tensor
    """Words so far, (N, t)."""
    model: DecoderState
    """N rows."""

    @property
    def previous(self) -> Tensor:
        """The last word of every row, START at first; (N,)."""
        if self.tokens.shape[1]:
            return self.tokens[:, -1]
        return self.tokens.new_full((len(self.tokens),), START)


@dataclass(frozen=True)
class Candidates:
    """Continuations of the rows of each sentence, best first; all tensors (B, C)."""

    scores: Tensor
    rows: Tensor
    """The row each continues, 0 .. N - 1."""
    words: Tensor
    kept: Tensor
    """Within the width and possible at all."""

    @property
    def ended(self) -> Tensor:
        """Kept, and EOS is the word."""
        return self.kept & (self.words == EOS)

    @property
    def alive(self) -> Tensor:
        """Kept, and to be continued."""
        return self.kept & (self.words != EOS)


@torch.inference_mode()
def beam_search(model: Seq2SeqModel, source: Tensor, source_mask: Tensor, decode: Decode) -> list[list[Hypothesis]]:
    """Each sentence's hypotheses, best first: at most k finished ones, or, if none finished, the unfinished.

    source, source_mask: (B, S), EOS included. The model should be in evaluation mode.
    With `decode.retry`, sentences without a finished hypothesis are searched again as GroundHog does; the
    unfinished of the last attempt are returned when all attempts fail, where GroundHog raises.
    Raises UserError if no word at all has a probability.
    """
    found = _search(model, source, source_mask, decode)
    rows_at_once = len(source) * decode.beam
    attempt = _next_attempt(decode)
    while attempt is not None:
        failed = [index for index, hypotheses in enumerate(found) if not _finished(hypotheses)]
        together = max(1, rows_at_once // attempt.beam)
        for chunk in (failed[start : start + together] for start in range(0, len(failed), together)):
            length = int(source_mask[chunk].sum(1).max())
            again = _search(model, source[chunk, :length], source_mask[chunk, :length], attempt)
            for index, hypotheses in zip(chunk, again, strict=True):
                found[index] = hypotheses
        attempt = _next_attempt(attempt) if failed else None
    if not all(found):
        raise UserError("decoding: the model gives no word a probability (NaN?); take an earlier checkpoint")
    return found


def _finished(hypotheses: list[Hypothesis]) -> bool:
    return bool(hypotheses) and hypotheses[0].finished


def _next_attempt(decode: Decode) -> Decode | None:
    """What GroundHog tries when nothing finished: UNK allowed, then twice the beam while it is below 500."""
    if not decode.retry:
        return None
    if decode.suppress_unk:
        return replace(decode, suppress_unk=False)
    return replace(decode, beam=2 * decode.beam) if decode.beam < WIDEST else None


def length_penalty(length: int, decode: Decode) -> float:
    """What a log-probability is divided by at `length` tokens, EOS included; it never falls with the length.

    `gnmt`: lp(Y) = ((5 + |Y|) / 6)^alpha, Vaswani2017 §6.1, from Wu et al. 2016.
    """
    if decode.length_penalty == "gnmt":
        return float(((5 + length) / 6) ** decode.alpha)
    return float(length) if decode.length_penalty == "mean" else 1.0


def _search(model: Seq2SeqModel, source: Tensor, source_mask: Tensor, decode: Decode) -> list[list[Hypothesis]]:
    """One attempt; a sentence's list is empty only if no word had a probability."""
    lengths = source_mask.sum(1)
    limits = [max(1, math.floor(decode.max_factor * length) + decode.max_extra) for length in lengths.tolist()]
    found: list[list[Hypothesis]] = [[] for _ in limits]
    beam = _open(model, source, source_mask, decode)
    for step in range(1, max(limits) + 1):
        logits, state = model.step(beam.previous, beam.model)
        candidates = _expand(logits, beam, step, decode)
        _collect(found, beam, candidates, step, decode)
        beam, rows = _advance(beam, candidates, decode)
        best = beam.scores[:, 0].tolist()
        stay = []
        for place, sentence in enumerate(beam.sentences):
            if not _over(best[place], found[sentence], step, limits[sentence], decode):
                stay.append(place)
            elif not found[sentence]:
                found[sentence] = _unfinished(beam, place, step, decode)
        if not stay:
            break
        beam = _follow(beam, rows, stay, state)
    return found


def _open(model: Seq2SeqModel, source: Tensor, source_mask: Tensor, decode: Decode) -> BeamState:
    """k rows per sentence, of which the first alone holds a hypothesis: the empty one."""
    count = len(source)
    sentences = torch.arange(count, device=source.device)
    scores = torch.full((count, decode.beam), -math.inf, device=source.device)
    scores[:, 0] = 0.0
    narrow = decode.search == "shrinking" or decode.beam == 1
    minimum = (decode.min_factor * source_mask.sum(1).double()).floor()
    return BeamState(
        sentences=list(range(count)),
        minimum=minimum,
        width=torch.full((count,), decode.beam if narrow else 2 * decode.beam, device=source.device),
        scores=scores,
        tokens=torch.empty(count * decode.beam, 0, dtype=torch.int64, device=source.device),
        model=model.encode(source, source_mask).select(sentences.repeat_interleave(decode.beam)),
    )


def _expand(logits: Tensor, beam: BeamState, step: int, decode: Decode) -> Candidates:
    """The C best continuations of each sentence. logits: (N, V)."""
    sentences, rows = beam.scores.shape
    log_p = logits.float().log_softmax(-1).view(sentences, rows, -1)  # (B, k, V)
    if decode.suppress_unk:
        log_p[..., UNK] = -math.inf
    log_p[..., EOS].masked_fill_((step <= beam.minimum)[:, None], -math.inf)
    log_p += beam.scores[:, :, None]  # in place: it is by far the largest tensor here
    scores, places = _best(log_p.flatten(1), 2 * rows)
    first_rows = rows * torch.arange(sentences, device=logits.device)[:, None]
    ranks = torch.arange(2 * rows, device=logits.device)
    return Candidates(
        scores=scores,
        rows=first_rows + places // log_p.shape[-1],
        words=places % log_p.shape[-1],
        kept=(scores > -math.inf) & (ranks < beam.width[:, None]),
    )


def _best(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The highest `count` of each row of scores (B, W), all at most 0, and their places; best first.

    Equal scores are ordered by place. `topk` alone leaves them as it likes, even by the shape of the batch; so
    rows with a tie, which are rare, are chosen again by keys that are never equal: the bits of -score, which
    order as the numbers do since none is negative, then the place.
    """
    values, places = scores.topk(min(count + 1, scores.shape[1]))  # one more, to see a tie at the edge
    tied = ((values[:, 1:] == values[:, :-1]) & (values[:, 1:] > -math.inf)).any(1)
    if tied.any():
        costs = scores[tied].abs().view(torch.int32).long()
        keys = (costs << 32) | torch.arange(scores.shape[1], device=scores.device)
        places[tied] = keys.topk(places.shape[1], largest=False).values & 0xFFFFFFFF
    places = places[:, :count]
    return scores.gather(1, places), places


def _collect(found: list[list[Hypothesis]], beam: BeamState, candidates: Candidates, step: int, decode: Decode) -> None:
    """Add the candidates that ended to the hypotheses `found`, best first and at most k a sentence."""
    ended = candidates.ended
    places = ended.nonzero()[:, 0].tolist()
    if not places:
        return
    prefixes = beam.tokens.cpu()
    penalty = length_penalty(step, decode)
    for place, row, log_p in zip(
        places, candidates.rows[ended].tolist(), candidates.scores[ended].tolist(), strict=True
    ):
        hypotheses = found[beam.sentences[place]]
        if len(hypotheses) == decode.beam and log_p / penalty <= hypotheses[-1].score:
            continue
        hypothesis = Hypothesis(tuple(prefixes[row].tolist()), log_p / penalty, True)
        bisect.insort(hypotheses, hypothesis, key=lambda other: -other.score)
        del hypotheses[decode.beam :]


def _advance(beam: BeamState, candidates: Candidates, decode: Decode) -> tuple[BeamState, Tensor]:
    """The best k that live on, one word longer, and the rows (B, k) they continue; the model's state is still old."""
    scores = candidates.scores.masked_fill(~candidates.alive, -math.inf)
    scores, order = scores.sort(dim=1, descending=True, stable=True)
    scores, order = scores[:, : decode.beam], order[:, : decode.beam]
    rows, words = candidates.rows.gather(1, order), candidates.words.gather(1, order)
    tokens = torch.cat([beam.tokens[rows.flatten()], words.view(-1, 1)], dim=1)
    width = beam.width - candidates.ended.sum(1) if decode.search == "shrinking" else beam.width
    return replace(beam, width=width, scores=scores, tokens=tokens), rows


def _over(best: float, hypotheses: list[Hypothesis], step: int, limit: int, decode: Decode) -> bool:
    """Whether a sentence is done: nothing alive, no step left, or (`fixed`) nothing better can come.

    best: the highest log-probability alive. It can only fall from here, and dividing it by the largest
    penalty still possible raises it most, so best / penalty(limit) bounds every score to come.
    """
    if best == -math.inf or step >= limit:
        return True
    full = decode.search == "fixed" and len(hypotheses) == decode.beam
    return full and hypotheses[-1].score > best / length_penalty(limit, decode)


def _unfinished(beam: BeamState, place: int, step: int, decode: Decode) -> list[Hypothesis]:
    """The live hypotheses of the sentence at `place`, best first."""
    penalty = length_penalty(step, decode)
    tokens = beam.tokens[place * decode.beam : (place + 1) * decode.beam].tolist()
    return [
        Hypothesis(tuple(words), log_p / penalty, False)
        for words, log_p in zip(tokens, beam.scores[place].tolist(), strict=True)
        if log_p > -math.inf
    ]


def _follow(beam: BeamState, rows: Tensor, stay: list[int], state: DecoderState) -> BeamState:
    """The places that `stay`, with the model's new `state` brought to the rows (B, k) that were continued."""
    if len(stay) == len(beam.sentences):
        flat = rows.flatten()
        in_place = torch.equal(flat, torch.arange(len(flat), device=flat.device))
        return replace(beam, model=state if in_place else state.reorder(flat))
    places = torch.tensor(stay, device=rows.device)
    return BeamState(
        sentences=[beam.sentences[place] for place in stay],
        minimum=beam.minimum[places],
        width=beam.width[places],
        scores=beam.scores[places],
        tokens=beam.tokens.view(*rows.shape, -1)[places].flatten(0, 1),
        model=state.select(rows[places].flatten()),
    )
