"""Pool, sort, cut: properties on any corpus, and two simpler programs as oracles."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchtext.data import batch as torchtext_batch

from common.contract import longest_first, pad
from common.errors import UserError
from common.prepare.encoded import ParallelIds, Side, shard_name, write_offsets, write_side
from common.recipe import Batching
from common.train.batching import load_batch, minibatches

GROUNDHOG = Batching(max_length=None, pool=20, sentences=80, tokens=None, shuffle=False, accumulate=1)
TENSOR2TENSOR = Batching(max_length=None, pool=None, sentences=None, tokens=300, shuffle=True, accumulate=1)


def lengths(pairs: int, seed: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Source and target lengths, EOS included."""
    draw = np.random.default_rng(seed)
    return draw.integers(2, 60, pairs), draw.integers(2, 60, pairs)


def reading_order(pairs: int, pool: int | None, seed: int, epoch: int) -> list[int]:
    """Return the order before sorting. Sorting does nothing to pairs of equal length, and a minibatch is one pair."""
    single = Batching(max_length=None, pool=pool, sentences=1, tokens=None, shuffle=False, accumulate=1)
    same = np.full(pairs, 7)
    return [int(indices[0]) for indices in minibatches(same, same, single, seed, epoch)]


lists_of_lengths = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=120)
batchings = st.builds(
    lambda pool, limit, by_tokens, shuffle: Batching(
        None, pool, None if by_tokens else limit, limit if by_tokens else None, shuffle, accumulate=1
    ),
    st.none() | st.integers(1, 5),
    st.integers(1, 100),
    st.booleans(),
    st.booleans(),
)


@given(lists_of_lengths, batchings, st.integers(0, 3), st.integers(0, 3))
def test_every_pair_once_and_no_budget_exceeded(pairs: list, batching: Batching, seed: int, epoch: int) -> None:
    source, target = np.array(pairs).T
    batches = minibatches(source, target, batching, seed, epoch)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(pairs)))
    for indices in batches:
        assert len(indices) > 0
        if batching.sentences:
            assert len(indices) <= batching.sentences
        else:
            padded = len(indices) * max(source[indices].max(), target[indices].max())
            assert padded <= batching.tokens or len(indices) == 1
    again = minibatches(source, target, batching, seed, epoch)
    assert [indices.tolist() for indices in again] == [indices.tolist() for indices in batches]


@pytest.mark.parametrize("pairs", [4_000, 3_200, 77])
def test_groundhog_pools_against_a_plain_loop(pairs: int) -> None:
    """Bahdanau 2014 App. B.2, GroundHog `get_batch_iterator`: 1,600 read, sorted by the longer side, cut into 80s."""
    source, target = lengths(pairs)
    expected = []
    order = reading_order(pairs, 20, seed=3, epoch=2)
    for start in range(0, pairs, 1_600):
        pool = sorted(order[start : start + 1_600], key=lambda index: max(source[index], target[index]))
        expected += [pool[cut : cut + 80] for cut in range(0, len(pool), 80)]
    found = [indices.tolist() for indices in minibatches(source, target, GROUNDHOG, seed=3, epoch=2)]
    assert found == expected
    assert {len(indices) for indices in found[:-1]} <= {80}


def test_pools_are_shuffled_once_and_then_read_in_the_same_order() -> None:
    first, second, other = (reading_order(500, 4, seed, epoch) for seed, epoch in ((1, 0), (1, 9), (2, 0)))
    assert first == second != other
    assert first != sorted(first)


def test_whole_epochs_are_shuffled_anew() -> None:
    orders = [reading_order(500, None, seed, epoch) for seed, epoch in ((1, 0), (1, 1), (2, 0))]
    assert len({tuple(order) for order in orders}) == 3


def test_token_budget_against_torchtext() -> None:
    """The whole epoch is sorted and filled greedily. torchtext's batches are filled so, given the padded size."""
    source, target = lengths(3_000)
    longer = np.maximum(source, target)
    still = Batching(max_length=None, pool=None, sentences=None, tokens=300, shuffle=False, accumulate=1)
    order = sorted(reading_order(3_000, None, seed=4, epoch=1), key=lambda index: longer[index])
    expected = list(torchtext_batch(order, 300, lambda new, count, sofar: count * longer[new]))
    assert [indices.tolist() for indices in minibatches(source, target, still, seed=4, epoch=1)] == expected
    shuffled = [indices.tolist() for indices in minibatches(source, target, TENSOR2TENSOR, seed=4, epoch=1)]
    assert shuffled != expected and sorted(shuffled) == sorted(expected)


def test_token_budget_is_well_filled() -> None:
    source, target = lengths(20_000)
    batches = minibatches(source, target, TENSOR2TENSOR, seed=1, epoch=0)
    fill = [len(indices) * max(source[indices].max(), target[indices].max()) / 300 for indices in batches]
    assert np.mean(fill) > 0.9


def test_a_pair_longer_than_the_budget_goes_alone() -> None:
    source, target = np.array([3, 301, 4, 5]), np.array([3, 9, 4, 400])
    batches = minibatches(source, target, TENSOR2TENSOR, seed=1, epoch=0)
    assert sorted(sorted(indices.tolist()) for indices in batches) == [[0, 2], [1], [3]]


def test_pools_of_tokens_hold_about_that_many() -> None:
    pools = Batching(max_length=None, pool=10, sentences=None, tokens=300, shuffle=False, accumulate=1)
    source, target = lengths(5_000)
    batches = minibatches(source, target, pools, seed=1, epoch=0)
    longest = [max(source[indices].max(), target[indices].max()) for indices in batches]
    falls = sum(later < earlier for earlier, later in zip(longest, longest[1:], strict=False))
    assert falls == np.maximum(source, target).sum() // 3_000


@pytest.fixture
def corpus(tmp_path: Path) -> tuple[Path, list[list[int]], list[list[int]]]:
    """A folder with 11 encoded pairs, an empty target among them, and the same as lists."""
    draw = np.random.default_rng(8)
    source, target = ([draw.integers(1, 50, size).tolist() for size in draw.permutation(11) + low] for low in (1, 0))
    for side, sentences in (("source", source), ("target", target)):
        write_side(tmp_path, "train", side, sentences, vocabulary_size=50)
    return tmp_path, source, target


def test_batches_are_padded_as_the_model_expects(corpus: tuple) -> None:
    directory, source, target = corpus
    indices = np.array([7, 0, 10, 3])
    batch = load_batch(ParallelIds.open(directory, "train"), indices)
    for side, ids, mask in ((source, batch.source, batch.source_mask), (target, batch.target, batch.target_mask)):
        expected_ids, expected_mask = pad([[*side[index], 0] for index in indices])
        assert torch.equal(ids, expected_ids) and torch.equal(mask, expected_mask)
        assert ids.dtype == torch.int64 and mask.dtype == torch.bool


def test_pairs_and_lengths(corpus: tuple) -> None:
    directory, source, target = corpus
    ids = ParallelIds.open(directory, "train")
    assert [(a.tolist(), b.tolist()) for a, b in (ids[i] for i in range(len(ids)))] == list(
        zip(source, target, strict=True)
    )
    assert ids.source_lengths.tolist() == [len(sentence) + 1 for sentence in source]
    assert ids.target_lengths.tolist() == [len(sentence) + 1 for sentence in target]
    assert isinstance(ids.source.shards[0].base, np.memmap) and ids.source.shards[0].dtype == np.uint16


@pytest.mark.parametrize("limit", [4, 7, 11])
def test_length_limit_counts_either_side_without_eos(corpus: tuple, limit: int) -> None:
    directory, source, target = corpus
    kept = [pair for pair in zip(source, target, strict=True) if max(map(len, pair)) <= limit]
    ids = ParallelIds.open(directory, "train", limit)
    assert [(a.tolist(), b.tolist()) for a, b in (ids[i] for i in range(len(ids)))] == kept
    assert ids.source_lengths.tolist() == [len(sentence) + 1 for sentence, _ in kept]
    last = load_batch(ids, np.array([len(kept) - 1]))
    assert last.source.tolist() == [[*kept[-1][0], 0]] and last.target.tolist() == [[*kept[-1][1], 0]]


def test_a_limit_that_leaves_nothing_is_refused(tmp_path: Path) -> None:
    for side in ("source", "target"):
        write_side(tmp_path, "train", side, [[5, 6, 7]], vocabulary_size=50)
    with pytest.raises(UserError, match="batch.max_length 2 leaves no train pair; the shortest has 3"):
        ParallelIds.open(tmp_path, "train", 2)


def test_a_missing_or_damaged_file_is_named(corpus: tuple) -> None:
    directory = corpus[0]
    (directory / "train.target.00000.ids.npy").write_bytes(b"not an array")
    with pytest.raises(UserError, match=r"train\.target\.00000\.ids\.npy: missing or damaged"):
        ParallelIds.open(directory, "train")
    (directory / "train.target.00000.ids.npy").unlink()
    with pytest.raises(UserError, match=r"train\.target\.offsets\.npy: does not fit the shards"):
        ParallelIds.open(directory, "train")
    (directory / "train.target.offsets.npy").unlink()
    with pytest.raises(UserError, match=r"train\.target\.offsets\.npy: missing or damaged"):
        ParallelIds.open(directory, "train")


def test_shards_read_as_one(tmp_path: Path) -> None:
    """A side in several shards, one of them without a sentence, gives the same as in one piece."""
    draw = np.random.default_rng(3)
    sentences = [draw.integers(1, 90, size).tolist() for size in (3, 0, 5, 1, 0, 2, 7, 0)]
    (tmp_path / "cut").mkdir()
    (tmp_path / "whole").mkdir()
    cuts = [0, 2, 2, 5, 7, 8]
    lengths = []
    for number, (start, end) in enumerate(zip(cuts, cuts[1:], strict=False)):
        flat = [index for sentence in sentences[start:end] for index in sentence]
        np.save(tmp_path / "cut" / shard_name("train", "source", number), np.array(flat, dtype=np.uint16))
        lengths.append(np.array([len(sentence) for sentence in sentences[start:end]], dtype=np.int32))
    write_offsets(tmp_path / "cut", "train", "source", lengths, len(sentences))
    write_side(tmp_path / "whole", "train", "source", sentences, vocabulary_size=90)
    cut, whole = (Side.open(tmp_path / name, "train", "source") for name in ("cut", "whole"))
    assert [sentence.tolist() for sentence in cut.sentences(np.arange(8))] == sentences
    rows = draw.permutation(8)
    for one, other in zip(cut.gather(rows), whole.gather(rows), strict=True):
        assert np.array_equal(one, other)


def plain_minibatches(
    source_lengths: np.ndarray, target_lengths: np.ndarray, batching: Batching, seed: int, epoch: int
) -> list[np.ndarray]:
    """The same minibatches with 8 bytes a pair and a copy for each step, as committed results were trained."""
    longer = np.maximum(source_lengths, target_lengths)
    order = np.random.default_rng([seed, 0 if batching.pool else epoch, 0]).permutation(len(longer))
    if batching.pool is None:
        pools = [order]
    elif batching.sentences:
        pools = np.split(
            order, range(batching.pool * batching.sentences, len(order), batching.pool * batching.sentences)
        )
    else:
        share = np.cumsum(longer[order]) // (batching.pool * batching.tokens)
        pools = np.split(order, np.flatnonzero(np.diff(share)) + 1)
    emit, batches = np.random.default_rng([seed, epoch, 1]), []
    for pool in pools:
        cuts, size = [[]], batching.sentences or len(order)
        for index in pool[np.argsort(longer[pool], kind="stable")]:
            fits = batching.tokens is None or (len(cuts[-1]) + 1) * longer[index] <= batching.tokens
            if cuts[-1] and not (fits and len(cuts[-1]) < size):
                cuts.append([])
            cuts[-1].append(index)
        batches += [cuts[place] for place in emit.permutation(len(cuts))] if batching.shuffle else cuts
    return batches


some_lengths = st.integers(1, 40) | st.sampled_from([255, 256, 65_535, 65_536])


@given(
    st.lists(st.tuples(some_lengths, some_lengths), min_size=1, max_size=120),
    batchings,
    st.integers(0, 3),
    st.integers(0, 3),
    st.sampled_from([np.int32, np.int64]),
)
def test_minibatches_against_a_plain_program(
    pairs: list, batching: Batching, seed: int, epoch: int, kind: type[np.signedinteger]
) -> None:
    source, target = np.array(pairs, dtype=np.int64).T
    expected = plain_minibatches(source, target, batching, seed, epoch)
    found = minibatches(source.astype(kind), target.astype(kind), batching, seed, epoch)
    assert [indices.tolist() for indices in found] == [list(map(int, indices)) for indices in expected]
    assert len({id(indices.base) for indices in found}) == 1  # views of one array


@given(
    st.lists(st.lists(st.integers(1, 65_535), max_size=6), min_size=1, max_size=12),
    st.sets(st.integers(0, 12)),
    st.sampled_from([np.uint16, np.int32]),
    st.data(),
)
def test_gathering_against_a_plain_loop(
    sentences: list[list[int]], cuts: set[int], kind: type[np.generic], data: st.DataObject
) -> None:
    """Any sentences in any shards, some of them empty: ids one by one, EOS after each, the mask of both."""
    lengths, bounds = [len(sentence) for sentence in sentences], sorted({min(cut, len(sentences)) for cut in cuts})
    offsets = np.cumsum([0, *lengths])
    flat = np.array([index for sentence in sentences for index in sentence], dtype=kind)
    shards = np.split(flat, offsets[bounds])
    side = Side(tuple(shards), np.cumsum([0, *map(len, shards)]), offsets)
    rows = data.draw(st.lists(st.integers(0, len(sentences) - 1), max_size=9))
    expected = np.zeros((len(rows), max((lengths[row] for row in rows), default=0) + 1), dtype=np.int64)
    for line, row in zip(expected, rows, strict=True):
        line[: lengths[row]] = sentences[row]
    ids, mask = side.gather(np.array(rows, dtype=np.int32))
    assert ids.dtype == np.int64 and np.array_equal(ids, expected)
    assert mask.tolist() == [[place <= lengths[row] for place in range(expected.shape[1])] for row in rows]


def test_more_shards_than_files_may_be_open(tmp_path: Path) -> None:
    """Each mapped shard is an open file. The limit is raised where the system allows it, else it is named."""
    for number in range(40):
        np.save(tmp_path / shard_name("train", "source", number), np.array([number + 1], dtype=np.uint16))
    write_offsets(tmp_path, "train", "source", [np.ones(40, dtype=np.int32)], 40)
    program = """
import resource, sys
from pathlib import Path
from common.errors import UserError
from common.prepare.encoded import Side

resource.setrlimit(resource.RLIMIT_NOFILE, (25, int(sys.argv[2])))
try:
    print(len(Side.open(Path(sys.argv[1]), "train", "source").shards), "shards")
except UserError as error:
    print(error)
"""
    said = [
        subprocess.run(
            [sys.executable, "-c", program, tmp_path, hard], capture_output=True, text=True, check=True
        ).stdout
        for hard in ("200", "25")
    ]
    assert said[0] == "40 shards\n"
    assert "ids.npy: too many open files; raise the limit with `ulimit -n`" in said[1]


@given(st.lists(st.integers(1, 3000), max_size=200), st.integers(1, 3000), st.integers(1, 40))
def test_measuring_batches_have_every_sentence_once_and_bounded_positions(
    lengths: list[int], positions: int, sentences: int
) -> None:
    batches = list(longest_first(np.array(lengths, dtype=np.int64), positions, sentences))
    assert sorted(int(i) for batch in batches for i in batch) == list(range(len(lengths)))
    longest = [max(lengths[i] for i in batch) for batch in batches]
    assert longest == sorted(longest, reverse=True)
    for batch, width in zip(batches, longest, strict=True):
        assert len(batch) <= sentences and (len(batch) == 1 or len(batch) * width <= positions)
