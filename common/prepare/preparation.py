"""Preparation of a corpus: download, tokenise, select, count, segment, encode, in a folder that says how it was done.

A folder is complete or absent. It is built in a `.work` folder beside its final place and then renamed. What a killed
preparation finished stays in that folder, and the next preparation continues from it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from common.corpus.bitext import Bitext, Paths, choose
from common.errors import UserError
from common.files import checksum, first_changed, locked, write_json, write_once
from common.prepare.encoded import SIDES, shard_name, write_offsets
from common.prepare.held_out import Pairs, write_held_out
from common.prepare.language_model import tools
from common.prepare.lexicon import encode
from common.prepare.manifest import Counts, Manifest, Output, SelectionCheck, SideCounts, Step, TrainCounts
from common.prepare.prepared import Prepared
from common.prepare.selection import mask_path, select
from common.prepare.selection_check import check_selection
from common.prepare.subwords import build_lexicons, learn_subwords
from common.prepare.summary import write_summary
from common.prepare.tokens import PARTITIONS, Rules, Shard, tokenise
from common.prepare.types import count, count_types, gather_types
from common.prepare.workers import Crew
from common.progress import progress
from common.recipe import Data, Estimate, Text
from common.text.doubts import doubts, warn
from common.text.moses import Tokeniser
from common.text.pipeline import FILES as TEXT_FILES
from common.text.pipeline import TextPipeline

FORMAT = 4
"""Version of the prepared files. A higher version means other files from the same data section, in another folder."""
SHARD = 50_000
"""Number of pairs of a training part that are processed and stored together."""
TOOLS = ("sacremoses", "subword-nmt", "torchtext", "ufal.kenlm", "numpy")


def prepare(
    data: Data,
    text: Text,
    root: Path,
    cache: Path,
    *,
    max_length: int | None = None,
    splits: Sequence[str] = (),
    estimate: Estimate | None = None,
    workers: int | None = None,
) -> Prepared:
    """Return the prepared corpus of `data`, with ids as `text` says. It is built under `root` unless it exists.

    cache: folder of downloads. max_length: limit of the training pairs. It is applied when they are opened, so that
    RNNsearch-30 and -50 share one preparation and, as in GroundHog, one vocabulary. splits: test sets that will be
    needed; all test sets of the corpus are prepared. estimate: size of the text, for a check of the free space in
    advance.
    workers: number of processes, by default the number of cores. It changes the time, not the bytes.
    Raises UserError for an unknown corpus, language or split, for unreadable text and for a full disk.
    """
    bitext = choose(data)
    _check_splits(splits, bitext)
    inputs = bitext.sums()
    directory = root / folder_name(data, text, bitext, inputs)
    try:
        if not _complete(directory):
            with locked(directory):
                if not _complete(directory):
                    if estimate:
                        _check_space(bitext, estimate, root)
                    if any(share < 1 for share in data.shares):
                        tools()  # compiled now, so that a failure comes now and not after hours of other work
                    crew = Crew(workers or os.cpu_count() or 1)
                    _Preparation(data, text, bitext, inputs, directory, cache, crew).run()
        _bring_up_to_date(directory, bitext)
    except OSError as error:
        raise UserError(f"{error.filename or root}: {error.strerror}; free space or mend that, and run again") from None
    return Prepared.open(directory, max_length)


def _check_splits(splits: Sequence[str], bitext: Bitext) -> None:
    """Raise UserError for a test set that the text does not have, and if `valid` could mean two sets."""
    name, known = bitext.corpus.name, dict.fromkeys(["valid", *bitext.sets])
    if unknown := [split for split in splits if split not in known]:
        raise UserError(f"evaluate.sets: {name} has no test set `{unknown[0]}`; it has {', '.join(known)}")
    if "valid" in splits and "valid" in bitext.sets and bitext.development != ("valid",):
        raise UserError(
            f"evaluate.sets: `valid` is the development set, here {', '.join(bitext.development)} and not {name}'s own "
            "`valid`; name the sets that are meant"
        )


def _check_space(bitext: Bitext, estimate: Estimate, root: Path) -> None:
    """Raise UserError unless `root` has room for what preparation writes. Downloads check their own room."""
    _, needed = bitext.bytes_needed(estimate.pairs, estimate.source_tokens + estimate.target_tokens)
    if (free := shutil.disk_usage(root).free) < needed:
        raise UserError(
            f"{root}: preparing {bitext.corpus.name} takes about {needed:,} bytes and {free:,} are free; make room"
        )


def folder_name(data: Data, text: Text, bitext: Bitext, inputs: Mapping[str, str]) -> str:
    """Return `<corpus>-<source>-<target>-<hash>`. The hash covers all that the files depend on. inputs: checksums."""
    facts = {"format": FORMAT, **relevant(data, text, bitext.corpus.name), "inputs": inputs, "texts": bitext.texts}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return f"{bitext.corpus.name}-{data.source}-{data.target}-{digest[:12]}"


def relevant(data: Data, text: Text, corpus: str) -> dict[str, Any]:
    """Return the two sections of a recipe on which the prepared files depend.

    The corpus is represented by its name, because the location of its declaration changes nothing.
    """
    return {"data": {**dataclasses.asdict(data), "corpus": corpus}, "text": dataclasses.asdict(text)}


def _complete(directory: Path) -> bool:
    """Return whether every file of the manifest exists with its size, and those of the text with their checksums."""
    try:
        outputs = Manifest.read(directory).outputs
        sums = {name: outputs[name].sha256 for name in TEXT_FILES if name in outputs}
        whole = all((directory / name).stat().st_size == file.bytes for name, file in outputs.items())
        return whole and first_changed(directory, sums) is None
    except (OSError, ValueError, KeyError, TypeError, UserError):
        return False


def _declared(bitext: Bitext) -> dict[str, Any]:
    """Return what the manifest repeats from the declaration and no prepared file depends on."""
    corpus = bitext.corpus
    return {
        "title": corpus.title,
        "generated": corpus.generated,
        "licence": corpus.licence,
        "citation": corpus.citation,
        "expected": bitext.expected,
    }


def _bring_up_to_date(directory: Path, bitext: Bitext) -> None:
    """Write manifest and summary again if the declaration now has other facts about the same text."""
    manifest = Manifest.read(directory)
    now = dataclasses.replace(manifest, **_declared(bitext))
    if now != manifest:
        with locked(directory):
            write_summary(now, directory)
            now.write(directory)


@dataclass
class _Preparation:
    """One preparation: its steps in order, and what one step passes on to the next."""

    data: Data
    text: Text
    bitext: Bitext
    inputs: Mapping[str, str]
    """Checksums of the files that are read, as they were before preparation."""
    directory: Path
    cache: Path
    crew: Crew
    steps: list[Step] = field(default_factory=list)
    parts: dict[str, dict[str, int]] = field(default_factory=dict)
    """By training part: number of pairs read, kept, and left out for each reason."""
    warnings: list[str] = field(default_factory=list)
    """Warnings about text that may be the wrong one."""
    selection: SelectionCheck | None = None
    """Selected text beside random text, if anything was selected."""
    paths: Paths = field(default_factory=dict)
    """Paths of the public files, after the download."""

    @property
    def name(self) -> str:
        """Name of the corpus in messages."""
        return self.bitext.corpus.name

    @property
    def work(self) -> Path:
        """Folder of all files until preparation is finished. A killed preparation leaves it."""
        return self.directory.with_name(f"{self.directory.name}.work")

    @property
    def out(self) -> Path:
        """Folder that becomes the prepared folder."""
        return self.work / "out"

    def run(self) -> None:
        """Run all steps, then move the folder to its final place."""
        self.out.mkdir(parents=True, exist_ok=True)
        for half in (*self.work.glob(".*"), *self.out.glob(".*")):  # left by a killed attempt
            half.unlink()
        with self._step("download"):
            self.paths = self.bitext.download(self.cache)
        with self._step("tokenise"):
            by_part = {name: self._tokenise(name) for name in self.bitext.parts}
            self._refuse_nothing()
        shard_paths = [path for paths in by_part.values() for path in paths]
        self.crew.alone = len(shard_paths) == 1
        with self._step("select"):
            masks = self._select(by_part)
        if any(masks):
            with self._step("check selection"):
                self._check_selection(by_part, masks)
        with self._step("count"):
            types = self._count(shard_paths, masks)
        folders = (self.work, self.out, self.crew)
        with self._step("learn"):
            learn_subwords(self.text, types, *folders)
        with self._step("segment"):
            lexicons = build_lexicons(self.data, self.text, types, *folders)
        with self._step("encode"):
            encoded = self._encode(shard_paths, masks, lexicons)
        with self._step("held out"):
            train = self._train_counts(encoded, types)
            held_out = write_held_out(self._read_held_out(), self.bitext.development, self.out)
        self._finish(Counts(train, held_out))

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        """Record the time of a step and the largest memory that was measured in it."""
        self.crew.peak, started = 0, time.monotonic()
        yield
        self.crew.look(at_once=True)
        seconds = time.monotonic() - started
        self.steps.append(Step(name, round(seconds, 2), self.crew.peak))

    def _rules(self) -> Rules:
        data, text = self.data, self.text
        return Rules(data.source, data.target, text.lowercase, text.tokeniser, data.clean_tokens, data.clean_ratio)

    def _tokenise(self, name: str) -> list[Path]:
        """Tokenise one training part. Returns its shards in order."""
        marker = self._of_part(name, "read")
        if not marker.is_file():
            write_once(marker, json.dumps(self._read_part(name)))
        read = json.loads(marker.read_text(encoding="utf-8"))
        paths = [self._shard(name, number) for number in range(-(-read // SHARD))]
        outcome: Counter[str] = sum((Shard(path).outcome for path in paths), Counter())
        self._compare(name, read, self.bitext.expected.get(name))
        self.parts[name] = dict(sorted({**outcome, "read": read}.items()))
        for side in (0, 1):  # one warning per file, from the first shard that gives cause
            self._warn(next(filter(None, (Shard(path).doubts[side] for path in paths)), []))
        return paths

    def _refuse_nothing(self) -> None:
        """Raise UserError if no pair of any part is kept."""
        if any("kept" in part for part in self.parts.values()):
            return
        left_out: Counter[str] = sum((Counter(part) for part in self.parts.values()), Counter())
        reasons = ", ".join(f"{pairs:,} {reason}" for reason, pairs in left_out.items() if reason != "read")
        raise UserError(
            f"{self.name}: no training pair is left ({reasons}); raise data.clean_tokens or data.clean_ratio, or give "
            "text on both sides"
        )

    def _compare(self, name: str, read: int, expected: int | None) -> None:
        if expected not in (None, read):
            print(f"{self.name} {name}: {read:,} pairs where {expected:,} were expected", file=sys.stderr)

    def _warn(self, remarks: Sequence[str]) -> None:
        """Print the remarks on standard error now, and keep them for the manifest and the summary."""
        warn(remarks)
        self.warnings += remarks

    def _shard(self, name: str, number: int) -> Path:
        return self._of_part(name, f"{number:05d}.npz")

    def _of_part(self, name: str, kind: str) -> Path:
        """Return a file of a training part. No other file here begins with `part`, so the part can have any name."""
        return self.work / f"part.{name}.{kind}"

    def _read_part(self, name: str) -> int:
        """Tokenise the blocks that are not tokenised yet. Returns the number of lines of the part."""
        total = 0
        left = self.bitext.first and self.bitext.first - sum(part["read"] for part in self.parts.values())
        sides = self.bitext.names(self.bitext.parts[name])
        with progress(self.bitext.expected.get(name), f"tokenising {self.name} {name}", "pair") as bar:

            def tasks() -> Iterator[tuple[Any, ...]]:
                nonlocal total
                for number, source, target, pairs in self.bitext.blocks(name, SHARD, self.paths, left):
                    first, path = total + 1, self._shard(name, number)
                    total += pairs
                    if path.exists():
                        bar.update(pairs)
                    else:
                        yield self._rules(), sides, first, source, target, path

            self.crew.run(tokenise, tasks(), lambda task: bar.update(task[3].count(b"\n")))
        return total

    def _select(self, by_part: Mapping[str, Sequence[Path]]) -> list[Path | None]:
        """Return for every shard in order the file of the mask that says which pairs are kept, or None if all are."""
        masks, about = select(self.data, by_part, self.work, self.out, self.crew)
        for name, facts in about.items():
            self.parts[name] |= facts
        return masks

    def _check_selection(self, by_part: Mapping[str, Sequence[Path]], masks: Sequence[Path | None]) -> None:
        """Compare the selected pairs with random ones on the development sets."""
        groups = [[path for path in paths if mask_path(path) in masks] for paths in by_part.values()]
        if self.data.select_words is not None:  # one limit for all parts together
            groups = [[path for group in groups for path in group]]
        data, text = self.data, self.text
        tokenisers = [Tokeniser(language, text.lowercase, text.tokeniser) for language in (data.source, data.target)]
        sets = {}
        for name in self.bitext.development:
            sides = zip(tokenisers, self.bitext.read(name, self.paths), strict=True)
            source, target = ([tokeniser.tokenise(line) for line in lines] for tokeniser, lines in sides)
            sets[name] = source, target
        self.selection = check_selection([group for group in groups if group], sets, self.work / "check", self.crew)

    def _count(self, paths: Sequence[Path], masks: Sequence[Path | None]) -> list[Path]:
        """Return the files of all word types and their counts, one for each partition."""
        counts = [self.work / f"{path.stem}.counts.npz" for path in paths]
        self._run(count, list(zip(paths, masks, counts, strict=True)), "counting words")
        types = [self.work / f"types.{number:02d}.npz" for number in range(PARTITIONS)]
        tasks = [(number, paths, counts, path) for number, path in enumerate(types)]
        self._run(gather_types, tasks, "adding counts up")
        return types

    def _encode(self, paths: Sequence[Path], masks: Sequence[Path | None], lexicons: tuple[Path, Path]) -> list[Path]:
        """Write the ids of every shard. Returns the files with lengths and counts."""
        done = [self.work / f"encoded.{number:05d}.npz" for number in range(len(paths))]
        tasks = []
        for number, (path, mask, end) in enumerate(zip(paths, masks, done, strict=True)):
            ids = [self.out / shard_name("train", side, number) for side in SIDES]
            tasks.append((path, mask, lexicons, ids, end))
        self._run(encode, tasks, "encoding")
        return done

    def _run(self, function: Any, tasks: Sequence[tuple[Any, ...]], label: str) -> None:
        with progress(len(tasks), f"{label} of {self.name}", "part") as bar:
            self.crew.run(function, tasks, lambda task: bar.update())

    def _train_counts(self, encoded: Sequence[Path], types: Sequence[Path]) -> TrainCounts:
        """Write the offsets and the lengths of sentences. Returns the counts of the training text."""
        with_lengths = [np.load(path, allow_pickle=False) for path in encoded]
        pairs = sum(len(file["source.lengths"]) for file in with_lengths)
        if pairs == 0:
            raise UserError(f"{self.name}: selection leaves no training pair; raise data.shares or data.select_words")
        text = TextPipeline.load(self.out)
        counts: dict[str, SideCounts] = {}
        histograms: dict[str, list[int]] = {}
        for index, side in enumerate(SIDES):
            lengths = (file[f"{side}.lengths"] for file in with_lengths)
            write_offsets(self.out, "train", side, lengths, pairs)
            pieces = int(np.load(self.out / f"train.{side}.offsets.npy", mmap_mode="r")[-1])
            unknown = sum(int(file[f"{side}.unknown"]) for file in with_lengths)
            vocabulary = (text.source_vocabulary, text.target_vocabulary)[index]
            histograms[side] = np.sum([file[f"{side}.histogram"] for file in with_lengths], axis=0).tolist()
            words = sum(int(file[f"{side}.words"]) for file in with_lengths)
            of_side = SideCounts.of(pairs, pieces, unknown, len(vocabulary.words))
            counts[side] = dataclasses.replace(of_side, words=words, word_types=count_types(types, index))
        # Number of sentences with 0, 1, ... pieces, EOS not counted. The last number is for lexicon.LONGEST or more.
        write_json(self.out / "train.lengths.json", histograms, indent=None)
        learned = json.loads((self.work / "learned.json").read_text(encoding="utf-8"))
        return TrainCounts(pairs, counts["source"], counts["target"], self.parts, **learned)

    def _read_held_out(self) -> dict[str, Pairs]:
        """Return the untokenised development and test sets, and print warnings about them."""
        raw = {}
        for name, part in self.bitext.sets.items():
            raw[name] = self.bitext.read(name, self.paths)
            self._compare(name, len(raw[name][0]), part.pairs)
            for lines, file in zip(raw[name], self.bitext.names(part), strict=True):
                self._warn(doubts(lines, file, self.text.tokeniser))
        return raw

    def _finish(self, counts: Counts) -> None:
        """Write the manifest and the summary, rename the folder, and remove the files that are no longer needed.

        Raises UserError if a file was changed while it was read. The next preparation then starts from the beginning.
        """
        changed = [name for name, found in self.bitext.sums().items() if found != self.inputs[name]]
        if changed:
            shutil.rmtree(self.work)
            raise UserError(f"{changed[0]} was changed while {self.name} was prepared from it; run again")
        manifest = Manifest(
            format=FORMAT,
            corpus=self.name,
            **_declared(self.bitext),
            **relevant(self.data, self.text, self.name),
            tools={tool: version(tool) for tool in TOOLS},
            texts=self.bitext.texts,
            inputs=self.inputs,
            counts=counts,
            warnings=tuple(self.warnings),
            outputs={path.name: Output(path.stat().st_size, checksum(path)) for path in sorted(self.out.iterdir())},
            steps=tuple(self.steps),
            selection=self.selection,
        )
        write_summary(manifest, self.out)  # after the checksums, because it has times, which differ between runs
        manifest.write(self.out)
        shutil.rmtree(self.directory, ignore_errors=True)
        self.out.rename(self.directory)
        shutil.rmtree(self.work, ignore_errors=True)
