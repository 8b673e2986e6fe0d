"""What alpha shows on sentences and their references: agreement with an aligner, entropy, and where words look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from common.align.attention import Matrix
from common.align.links import Links, agreement, diagonal, error_rate, greatest
from common.align.record import DIGITS, Agreement, Look, Measure, Position, Sharpness
from common.align.statistical import Aligned
from common.ids import UNK
from common.score.bleu import Sums
from common.score.by_length import FEWEST
from common.score.significance import bootstrap_interval

Numbers = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Sentence:
    """A sentence pair with its alpha and the aligner's links."""

    source: npt.NDArray[np.int64]
    """Ids without EOS, (S,)."""
    target: npt.NDArray[np.int64]
    """(T,)"""
    alpha: Matrix
    """(T + 1, S + 1)"""
    links: Links

    @cached_property
    def linked(self) -> dict[int, int]:
        """The source position that each linked target position has. The two directions never agree on several."""
        return {target: source for source, target in self.links}


def ratio(sums: Sums) -> Numbers:
    """Return the quotient of sums (.., 2), (..,)."""
    quotient: Numbers = sums[..., 0] / sums[..., 1]
    return quotient


def measure(statistics: Sequence[Sequence[float]], of_sums: Callable[[Sums], Numbers] = ratio) -> Measure:
    """Return a value computed from sums over sentences, with its interval.

    statistics: by sentence; those with nothing to count are left out. of_sums: the value from sums (.., K).
    """
    counted = np.array([row for row in statistics if any(row)], dtype=np.float64)
    return Measure.of(float(of_sums(counted.sum(0))), bootstrap_interval(counted, of_sums))


def entropies(alpha: Matrix) -> Numbers:
    """Return the entropy of each row of alpha in nats, (T + 1,)."""
    entropy: Numbers = -(alpha * np.log(np.where(alpha > 0, alpha, 1))).sum(axis=1)
    return entropy


def sharpness(sentences: Sequence[Sentence]) -> Sharpness:
    """Return how well alpha aligns the sentences."""
    words = [(sentence.alpha[:-1], len(sentence.target)) for sentence in sentences]
    return Sharpness(
        error_rate=measure([agreement(greatest(one.alpha), one.links) for one in sentences], error_rate),
        sharp=measure([((alpha.max(axis=1) > 0.5).sum(), count) for alpha, count in words]),
        entropy=measure([(entropies(alpha).sum(), count) for alpha, count in words]),
    )


def agree(sentences: Sequence[Sentence], aligned: Aligned, test_set: str) -> Agreement:
    """Return all that is said of attention beside the aligner. sentences: those of `aligned`, in its order."""
    counts = [agreement(greatest(one.alpha), one.links) for one in sentences]
    straight = [agreement(diagonal(len(one.source), len(one.target)), one.links) for one in sentences]
    one_way = [agreement(links, both) for links, both in zip(aligned.one, aligned.both, strict=True)]
    return Agreement(
        test_set=test_set,
        sentences=len(sentences),
        aligner=aligned.aligner,
        pairs=aligned.pairs,
        links_sha256=aligned.sha256,
        counts=tuple(" ".join(map(str, row)) for row in counts),
        diagonal=measure(straight, error_rate),
        one=measure(one_way, error_rate),
        alpha=sharpness(sentences),
        offsets=_offsets(sentences),
        positions=tuple(_positions(sentences)),
        looks=_looks(sentences),
    )


def _offsets(sentences: Sequence[Sentence]) -> dict[str, int]:
    """Count linked words by the distance from the linked word to the greatest weight, the end token included."""
    distances = Counter(
        int(one.alpha[target].argmax()) - source for one in sentences for target, source in one.linked.items()
    )
    return {str(distance): count for distance, count in sorted(distances.items())}


def _positions(sentences: Sequence[Sentence]) -> Iterator[Position]:
    """Yield the entropy at each target position that at least FEWEST sentences have."""
    found = [entropies(one.alpha)[:-1] for one in sentences]
    for index in range(max(map(len, found))):
        reaching = [(values[index], len(one.source) + 1) for one, values in zip(sentences, found, strict=True)
                    if index < len(values)]  # fmt: skip
        if len(reaching) < FEWEST:
            return
        yield Position(
            position=index + 1,
            sentences=len(reaching),
            entropy=measure([(value, 1) for value, _ in reaching]),
            uniform=round(float(np.mean(np.log([count for _, count in reaching]))), DIGITS),
        )


def _looks(sentences: Sequence[Sentence]) -> dict[str, Look]:
    """Return where the target positions of each kind look, if at least FEWEST sentences have such positions."""
    kinds: dict[str, Callable[[Sentence], Places]] = {
        "known": lambda one: np.flatnonzero(one.target != UNK),
        "unknown": lambda one: np.flatnonzero(one.target == UNK),
        "end": lambda one: np.array([len(one.target)]),
    }
    looks = {}
    for kind, positions_of in kinds.items():
        having = [(one, rows) for one in sentences if len(one.source) and len(rows := positions_of(one))]
        if len(having) >= FEWEST:
            looks[kind] = _look(having)
    return looks


def _look(having: Sequence[tuple[Sentence, Places]]) -> Look:
    """Return where the given rows of alpha look, by sentence."""
    linked = [
        (
            sum(one.alpha[row, one.linked[row]] for row in rows if row in one.linked),
            sum(row in one.linked for row in rows),
        )
        for one, rows in having
    ]

    def on(columns: Callable[[Sentence], Places]) -> Measure:
        """Return the mean weight on the columns that are chosen in each sentence."""
        return measure([(one.alpha[np.ix_(rows, columns(one))].sum(), len(rows)) for one, rows in having])

    def equal(one: Sentence) -> float:
        """Return the share of source positions that are UNK."""
        return np.count_nonzero(one.source == UNK) / (len(one.source) + 1)

    return Look(
        positions=sum(len(rows) for _, rows in having),
        linked=measure(linked) if sum(count > 0 for _, count in linked) >= FEWEST else None,
        unknown=on(lambda one: np.flatnonzero(one.source == UNK)),
        unknown_equal=measure([(equal(one) * len(rows), len(rows)) for one, rows in having]).value,
        last=on(lambda one: np.array([len(one.source) - 1])),
        end=on(lambda one: np.array([len(one.source)])),
    )
