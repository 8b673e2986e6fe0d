"""Batched beam search for any model with the `Seq2SeqModel` protocol. Beam 1 is greedy decoding.

There are two searches. They differ in what a finished hypothesis does to the beam.

`shrinking` is the search of Bahdanau2014, GroundHog `BeamSearch.search`. It keeps the n best continuations by
  cumulative log-probability. A continuation that ends in EOS is finished, and n falls by one. The sentence is done at
  n = 0. Length counts only afterwards, when the finished hypotheses are ranked.
`fixed` is the search of Vaswani2017 §6.1, tensor2tensor v1.0 `beam_search`. Of the 2k best continuations, the k best
  without EOS stay alive. Those with EOS compete by penalised score for k finished places. The sentence is done when
  its last finished place beats every score that is still possible. For beam 1, tensor2tensor uses greedy decoding,
  and so do we.

We differ from the authors' code in three points. The length limit and the stop belong to each sentence and not to the
padded batch (tensor2tensor), so the other sentences of a batch never change a translation. A continuation of
probability zero is never kept. If nothing finished, GroundHog fails, but we return the unfinished hypotheses.

The model computes on its own device. Only the best candidates of a step come to the CPU, in one transfer, and all that
follows is done there: on a GPU each small operation would cost more than the work in it.

Letters: B sentences still searched, k rows per sentence (1 at the first step), N = B k rows, C = 2 x beam candidates,
V target vocabulary size, S source positions, t tokens so far. A row without a hypothesis is dead: its score is -inf.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from common.contract import DecoderState, Seq2SeqModel
from common.errors import UserError
from common.ids import EOS, START, UNK
from common.recipe import Decode

WIDEST = 500
"""GroundHog stops doubling the beam when it has reached this size."""
_LEAVE = 8
"""Sentences that are over leave the batch as soon as they are an eighth of it, because all that remains is copied then.
Until they leave, their rows are dead."""
_CACHED = 500_000
"""Log-probabilities that a CPU takes at once: as many as its cache holds. It also need not ask for new memory then."""
_CHUNK = 128
"""Scores whose highest is found first when the best of very many are looked for."""


@dataclass(frozen=True)
class Hypothesis:
    """One translation of one sentence."""

    tokens: tuple[int, ...]
    """Target ids without EOS."""
    score: float
    """The value that ranks hypotheses: the sum of natural-log probabilities, EOS included, after the length penalty."""
    finished: bool
    """False if the length limit came before EOS. Such hypotheses are returned only if none of the sentence finished."""


@dataclass(frozen=True)
class BeamState:
    """The sentences that are still searched, with k rows each. All tensors but those of `model` are on the CPU."""

    sentences: list[int]
    """B indices into the batch that was passed to the search."""
    minimum: Tensor
    """Number of first steps at which EOS is forbidden, (B,)."""
    width: Tensor
    """Number of best candidates that count, (B,). If shrinking, every finished hypothesis reduces it by one."""
    scores: Tensor
    """Cumulative log-probabilities, float32, best first, (B, k)."""
    tokens: Tensor
    """Tokens so far, (N, t)."""
    model: DecoderState
    """State of the model's decoder, N rows."""

    @property
    def previous(self) -> Tensor:
        """The last token of every row, START at the first step; (N,)."""
        if self.tokens.shape[1]:
            return self.tokens[:, -1]
        return self.tokens.new_full((len(self.tokens),), START)  # no token yet


@dataclass(frozen=True)
class Candidates:
    """Continuations of the rows of each sentence, best first. All tensors are (B, C)."""

    scores: Tensor
    rows: Tensor
    """Row that each candidate continues, 0 .. N - 1."""
    words: Tensor
    kept: Tensor
    """True for a candidate within the width and of probability above zero."""

    @property
    def ended(self) -> Tensor:
        """Kept candidates whose token is EOS."""
        return self.kept & (self.words == EOS)

    @property
    def alive(self) -> Tensor:
        """Kept candidates that are to be continued."""
        return self.kept & (self.words != EOS)


@torch.inference_mode()
def beam_search(
    model: Seq2SeqModel,
    source: Tensor,
    source_mask: Tensor,
    decode: Decode,
    say: Callable[[str], None] = lambda line: None,
) -> list[list[Hypothesis]]:
    """Return each sentence's hypotheses, best first: at most k finished ones, or the unfinished ones if none finished.

    source, source_mask: (B, S), EOS included. The model should be in evaluation mode.
    With `decode.retry`, sentences without a finished hypothesis are searched again as in GroundHog. If all attempts
    fail, the unfinished hypotheses of the last attempt are returned, where GroundHog raises an error.
    say: called before each part of a further attempt with what is searched again.
    Raises UserError if no token at all has a probability.
    """
    found = _search(model, source, source_mask, decode)
    # A wider beam takes fewer sentences at a time, so that no attempt needs more memory than the first.
    rows_at_once = len(source) * decode.beam
    attempt = _next_attempt(decode)
    while attempt is not None:
        failed = [index for index, hypotheses in enumerate(found) if not _finished(hypotheses)]
        together = max(1, rows_at_once // attempt.beam)
        for start in range(0, len(failed), together):
            chunk = failed[start : start + together]
            also = "" if attempt.suppress_unk or not decode.suppress_unk else ", unknown words allowed"
            say(f"retrying {len(failed) - start} of {len(source)} sentences with beam {attempt.beam}{also}")
            length = int(source_mask[chunk].sum(1).max())  # S of these sentences alone
            again = _search(model, source[chunk, :length], source_mask[chunk, :length], attempt)
            for index, hypotheses in zip(chunk, again, strict=True):
                found[index] = hypotheses
        attempt = _next_attempt(attempt) if failed else None
    if not all(found):  # NaN is not above -inf, so no candidate was kept
        raise UserError("decoding: the model gives no word a probability (NaN?); take an earlier checkpoint")
    return found


def _finished(hypotheses: list[Hypothesis]) -> bool:
    return bool(hypotheses) and hypotheses[0].finished


def _next_attempt(decode: Decode) -> Decode | None:
    """Return what GroundHog tries if nothing finished: UNK allowed, then twice the beam while it is below 500."""
    if not decode.retry:
        return None
    if decode.suppress_unk:
        return replace(decode, suppress_unk=False)
    return replace(decode, beam=2 * decode.beam) if decode.beam < WIDEST else None


def length_penalty(length: int, decode: Decode) -> float:
    """Return the divisor of a log-probability at `length` tokens, EOS included. It never falls with the length.

    `gnmt`: lp(Y) = ((5 + |Y|) / 6)^alpha, Vaswani2017 §6.1, from Wu et al. 2016.
    """
    if decode.length_penalty == "gnmt":
        return float(((5 + length) / 6) ** decode.alpha)
    return float(length) if decode.length_penalty == "mean" else 1.0


def _search(model: Seq2SeqModel, source: Tensor, source_mask: Tensor, decode: Decode) -> list[list[Hypothesis]]:
    """Make one attempt. A sentence's list is empty only if no token had a probability."""
    lengths = source_mask.sum(1).cpu()  # (B,), EOS included
    limits = [max(1, math.floor(decode.max_factor * length) + decode.max_extra) for length in lengths.tolist()]
    found: list[list[Hypothesis]] = [[] for _ in limits]
    beam = _open(model.encode(source, source_mask), lengths, decode)
    for step in range(1, max(limits) + 1):
        logits, state = model.step(beam.previous.to(source.device), beam.model)  # (N, V)
        candidates = _expand(logits, beam, step, decode)
        _collect(found, beam, candidates, step, decode)  # before the prefixes move
        beam, rows = _advance(beam, candidates, decode)  # rows (B, k)
        best = beam.scores[:, 0].tolist()  # scores are sorted, so the first one is the highest
        stay = []
        for place, sentence in enumerate(beam.sentences):
            if not _over(best[place], found[sentence], step, limits[sentence], decode):
                stay.append(place)
                continue
            if not found[sentence]:  # over without any finished hypothesis
                found[sentence] = _unfinished(beam, place, step, decode)
            beam.scores[place] = -math.inf  # from now on it is over at every step
        if not stay:
            break
        beam = _follow(beam, rows, stay, state, step, source.device)
    return found


def _open(state: DecoderState, lengths: Tensor, decode: Decode) -> BeamState:
    """Return the first beam from the model's first state: each sentence has one row, the empty hypothesis.

    lengths (B,): source tokens of each sentence, on the CPU. More rows would be copies of the one.
    """
    count = len(lengths)
    # A row has only one continuation by EOS. So at most k of the best 2k end, and `fixed` always has k to keep alive.
    narrow = decode.search == "shrinking" or decode.beam == 1
    return BeamState(
        sentences=list(range(count)),
        minimum=(decode.min_factor * lengths.double()).floor(),  # (B,); double, to round as Python does
        width=torch.full((count,), decode.beam if narrow else 2 * decode.beam),  # (B,)
        scores=torch.zeros(count, 1),  # (B, 1)
        tokens=torch.empty(count, 0, dtype=torch.int64),  # (B, 0)
        model=state,
    )


def _expand(logits: Tensor, beam: BeamState, step: int, decode: Decode) -> Candidates:
    """Return the C best continuations of each sentence, on the CPU. logits: (N, V)."""
    sentences, rows = beam.scores.shape  # B, k
    count, words = 2 * decode.beam, logits.shape[1]  # C, V
    # EOS is barred from a hypothesis that would be too short.
    barred, scores = (step <= beam.minimum).to(logits.device), beam.scores.to(logits.device)  # (B,), (B, k)
    together = sentences if logits.is_cuda else max(1, _CACHED // (rows * words))  # sentences
    parts = (part.split(together) for part in (logits.view(sentences, rows, words), scores, barred))
    best = [_best(_continued(a, b, c, decode), count) for a, b, c in zip(*parts, strict=True)]  # of (.., C)
    values, places = (torch.cat(kind) for kind in zip(*best, strict=True))  # (B, C), places in 0 .. k V - 1
    return Candidates(
        scores=values,
        rows=rows * torch.arange(sentences)[:, None] + places // words,  # (B, C)
        words=places % words,  # (B, C)
        kept=(values > -math.inf) & (torch.arange(count) < beam.width[:, None]),  # -inf: a dead row or a barred token
    )


def _continued(logits: Tensor, scores: Tensor, barred: Tensor, decode: Decode) -> Tensor:
    """Return the score of every continuation (B, k V). logits (B, k, V), scores (B, k), barred (B,): without EOS."""
    log_p = logits.float().log_softmax(-1)  # (B, k, V)
    if decode.suppress_unk:
        log_p[..., UNK] = -math.inf  # never chosen; the others are not renormalised
    log_p[..., EOS].masked_fill_(barred[:, None], -math.inf)  # a candidate of -inf is never kept
    log_p += scores[:, :, None]  # in place: it is by far the largest tensor here; dead rows stay at -inf
    return log_p.flatten(1)


def _best(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the `count` highest of each row of scores (B, W), all at most 0, and their places, best first, on the CPU.

    If there are fewer, scores of -inf follow. Equal scores are ordered by place. `topk` alone leaves their order open,
    and it may depend on the batch's shape. So rows with a tie, which are rare, are sorted again by (score, place): as
    integers, the bits of -score have the order of the numbers because none is negative.
    """
    there = min(count + 1, scores.shape[1])  # one more, to see a tie at the edge
    # (B, there) each, in one transfer. Both fit into float64: scores are float32, and places are small.
    values, found = torch.stack([part.double() for part in _highest(scores, there)]).cpu()
    values, places = values.float(), found.long()
    tied = ((values[:, 1:] == values[:, :-1]) & (values[:, 1:] > -math.inf)).any(1)  # (B,)
    if tied.any():
        again = scores[tied.to(scores.device)]  # (tied, W)
        keys = (again.abs().view(torch.int32).long() << 32) | torch.arange(scores.shape[1], device=scores.device)
        ordered = keys.topk(there, largest=False).values & 0xFFFFFFFF  # the place is in the lower 32 bits
        places[tied], values[tied] = ordered.cpu(), again.gather(1, ordered).cpu()
    missing = max(0, count - there)
    return (
        F.pad(values[:, :count], (0, missing), value=-math.inf),  # (B, count)
        F.pad(places[:, :count], (0, missing)),
    )


def _highest(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the `count` highest of each row of scores (B, W) and their places, as `topk` does.

    They lie in the `count` chunks that have the highest maxima, and in what is left over behind the last chunk. Maxima
    are found several times faster than `topk` sorts.
    """
    chunks = scores.shape[1] // _CHUNK
    if chunks < 4 * count:  # there is little to leave out
        values, places = scores.topk(count)
        return values, places
    edge = chunks * _CHUNK
    highest = scores[:, :edge].unflatten(1, (chunks, _CHUNK)).amax(2).topk(count).indices  # (B, count)
    inside = highest[:, :, None] * _CHUNK + torch.arange(_CHUNK, device=scores.device)  # (B, count, _CHUNK)
    behind = torch.arange(edge, scores.shape[1], device=scores.device).expand(len(scores), -1)  # (B, < _CHUNK)
    places = torch.cat([inside.flatten(1), behind], dim=1)
    values, order = scores.gather(1, places).topk(count)
    return values, places.gather(1, order)


def _collect(found: list[list[Hypothesis]], beam: BeamState, candidates: Candidates, step: int, decode: Decode) -> None:
    """Add the candidates that ended to the hypotheses `found`, best first and at most k per sentence."""
    ended = candidates.ended  # (B, C)
    places = ended.nonzero()[:, 0].tolist()  # the sentence of each ended candidate
    if not places:
        return
    penalty = length_penalty(step, decode)  # all that end now have `step` tokens
    for place, row, log_p in zip(
        places, candidates.rows[ended].tolist(), candidates.scores[ended].tolist(), strict=True
    ):
        hypotheses = found[beam.sentences[place]]
        if len(hypotheses) == decode.beam and log_p / penalty <= hypotheses[-1].score:
            continue
        hypothesis = Hypothesis(tuple(beam.tokens[row].tolist()), log_p / penalty, True)
        bisect.insort(hypotheses, hypothesis, key=lambda other: -other.score)  # ascending keys, hence the sign
        del hypotheses[decode.beam :]


def _advance(beam: BeamState, candidates: Candidates, decode: Decode) -> tuple[BeamState, Tensor]:
    """Return the beam of the k best live continuations, one token longer, and the rows (B, k) that they continue.

    Its model state is still the old one.
    """
    scores = candidates.scores.masked_fill(~candidates.alive, -math.inf)  # what ended is not continued
    scores, order = scores.sort(dim=1, descending=True, stable=True)  # stable: of equal scores the earlier stays first
    scores, order = scores[:, : decode.beam], order[:, : decode.beam]  # (B, k)
    rows, words = candidates.rows.gather(1, order), candidates.words.gather(1, order)  # (B, k)
    tokens = torch.cat([beam.tokens[rows.flatten()], words.view(-1, 1)], dim=1)  # (N, t + 1)
    # GroundHog: a finished hypothesis keeps its place in the beam, so one candidate fewer may be kept from now on.
    width = beam.width - candidates.ended.sum(1) if decode.search == "shrinking" else beam.width
    return replace(beam, width=width, scores=scores, tokens=tokens), rows


def _over(best: float, hypotheses: list[Hypothesis], step: int, limit: int, decode: Decode) -> bool:
    """Return whether a sentence is done: nothing is alive, no step is left, or (`fixed`) nothing better can come.

    best: the highest log-probability alive. From here it can only fall. Division by the largest penalty that is still
    possible raises it most, so best / penalty(limit) bounds every score to come.
    """
    if best == -math.inf or step >= limit:  # `shrinking` ends here: at width 0 nothing is kept
        return True
    full = decode.search == "fixed" and len(hypotheses) == decode.beam
    return full and hypotheses[-1].score > best / length_penalty(limit, decode)


def _unfinished(beam: BeamState, place: int, step: int, decode: Decode) -> list[Hypothesis]:
    """Return the live hypotheses of the sentence at `place`, best first, as unfinished."""
    penalty = length_penalty(step, decode)
    tokens = beam.tokens[place * decode.beam : (place + 1) * decode.beam].tolist()  # (k, t)
    return [
        Hypothesis(tuple(words), log_p / penalty, False)
        for words, log_p in zip(tokens, beam.scores[place].tolist(), strict=True)
        if log_p > -math.inf  # not a dead row
    ]


def _follow(
    beam: BeamState, rows: Tensor, stay: list[int], state: DecoderState, step: int, device: torch.device
) -> BeamState:
    """Return the beam with the model's new `state` at the rows (B, k) that were continued.

    stay: places of the sentences that are not over. The others leave the batch once they are enough of it.
    """
    flat, count = rows.flatten(), len(beam.sentences)  # (N,)
    if _LEAVE * (count - len(stay)) < count:
        if torch.equal(flat, torch.arange(len(flat))):  # always so with beam 1
            return replace(beam, model=state)
        # After the first step one row becomes k. Later a row moves only within its sentence: `reorder` leaves what
        # depends on the source alone.
        move = state.select if step == 1 else state.reorder
        return replace(beam, model=move(flat.to(device)))
    places = torch.tensor(stay)  # (B',), fewer than B
    return BeamState(
        sentences=[beam.sentences[place] for place in stay],
        minimum=beam.minimum[places],
        width=beam.width[places],
        scores=beam.scores[places],
        tokens=beam.tokens.view(*rows.shape, -1)[places].flatten(0, 1),  # (B', k, t) -> (N', t)
        model=state.select(rows[places].flatten().to(device)),  # `select` drops the rows of finished sentences
    )
