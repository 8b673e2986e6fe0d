"""How fast `prepare` is compared with the tokeniser alone, and how much memory it takes.

    PAPERS_MIRROR=... python -m benchmarks.prepare speed   # ten minutes: ours against sacremoses, 1 and 2 processes
    PAPERS_MIRROR=... python -m benchmarks.prepare scale   # half an hour on 2 cores: 5 million pairs, memory curve

The text is made from debdoc's real en-fr training pairs. Two of them are joined, so that lengths are nearer to WMT's.
Some pairs get an invented word, so that the number of word types keeps growing as it does in real corpora.
"""

from __future__ import annotations

import argparse
import json
import lzma
import multiprocessing
import os
import shutil
import statistics
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sacremoses import MosesTokenizer

from common.files import write_json
from common.prepare.preparation import prepare
from common.prepare.subwords import MOST_TYPES
from common.prepare.workers import memory_of_all
from common.recipe import Data, Text
from common.run.cli import utf8_output
from common.run.record import commit, environment
from common.typed import plain

RESULTS = Path(__file__).parent / "results"
"""Folder of the figures."""
INVENTED = 5
"""One in so many pairs has an invented word on each side. With debdoc's own this makes about as many types as WMT14
has."""
WMT14_PAIRS = 40_842_333
"""English-French pairs of WMT14, all parts together."""
SAMPLE = 50_000
"""Pairs on which sacremoses alone is timed."""


def mirror_lines(name: str) -> list[str]:
    """Read the lines of a debdoc file in the folder that PAPERS_MIRROR names."""
    path = Path(os.environ["PAPERS_MIRROR"]) / "debdoc" / f"{name}.xz"
    return lzma.decompress(path.read_bytes()).decode().split("\n")[:-1]


def write_corpus(folder: Path, pairs: int) -> Path:
    """Write `pairs` training pairs, debdoc's own validation set and a declaration. Return the declaration's path."""
    folder.mkdir(parents=True, exist_ok=True)
    sides = [mirror_lines(f"train.en-fr.{language}") for language in ("en", "fr")]
    size = len(sides[0])
    for language, lines in zip(("en", "fr"), sides, strict=True):
        with (folder / f"train.{language}").open("w", encoding="utf-8", newline="\n") as file:
            for number in range(pairs):
                turn, first = divmod(number, size)
                second = (first * 7919 + turn * 104_729 + 1) % size
                extra = f" {language}x{number * 2_654_435_761 % 2**32:x}" if number % INVENTED == 0 else ""
                file.write(f"{lines[first]} {lines[second]}{extra}\n")
        valid = "".join(f"{line}\n" for line in mirror_lines(f"valid.en-fr.{language}"))
        (folder / f"valid.{language}").write_text(valid, encoding="utf-8", newline="\n")
    declaration = folder / "debdoc-joined.yaml"
    declaration.write_text(
        "title: debdoc pairs joined by two (benchmark text)\n"
        "train: {en: train.en, fr: train.fr}\nvalid: {en: valid.en, fr: valid.fr}\n",
        encoding="utf-8",
    )
    return declaration


def sections(declaration: Path, merges: int) -> tuple[Data, Text]:
    """Return the English-German preparation of Vaswani et al. 2017, for this text."""
    data = Data(corpus=str(declaration), source="en", target="fr", clean_tokens=80, clean_ratio=9.0)
    return data, Text(
        tokeniser="moses-2016", lowercase=False, segmentation="bpe", bpe_merges=merges, vocabulary_size=60_000
    )


def _sacremoses(language: str, lines: list[str]) -> int:
    """Tokenise lines with sacremoses. Return the number of characters."""
    tokeniser = MosesTokenizer(lang=language)
    return sum(len(tokeniser.tokenize(line, escape=True, return_str=True)) for line in lines)


def sacremoses_rate(declaration: Path, pairs: int, workers: int) -> float:
    """Return the lines per second of sacremoses alone, on lines that are already in memory.

    The lines are shared out to the processes in 40 portions.
    """
    tasks = []
    for language in ("en", "fr"):
        with (declaration.parent / f"train.{language}").open(encoding="utf-8", newline="\n") as file:
            lines = list(islice(file, pairs))
        tasks += [(language, lines[start::20]) for start in range(20)]
    started = time.monotonic()
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        pool.starmap(_sacremoses, tasks, chunksize=1)
    return 2 * pairs / (time.monotonic() - started)


class Memory(threading.Thread):
    """Measures every second, during its block, the memory of this process and its children together."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.curve: list[tuple[float, int]] = []
        """Seconds and MiB."""
        self._over = threading.Event()

    def run(self) -> None:
        """Measure until the block ends."""
        started = time.monotonic()
        while not self._over.wait(1.0):
            self.curve.append((round(time.monotonic() - started, 1), memory_of_all() >> 20))

    def __enter__(self) -> Memory:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()


def prepare_once(declaration: Path, pairs: int, merges: int, workers: int) -> dict[str, Any]:
    """Prepare once, and return the figures: time and speed with and without learning the merges, memory by second.

    Beside them: steps and counts of the manifest, and the hash of each output.
    """
    with tempfile.TemporaryDirectory(dir=declaration.parent) as root:
        started = time.monotonic()
        with Memory() as memory:
            prepared = prepare(*sections(declaration, merges), Path(root), Path(root), workers=workers)
        seconds = time.monotonic() - started
        manifest = prepared.manifest.to_dict()
        for name in ("summary.md", "lengths.png"):
            shutil.copy(prepared.directory / name, declaration.parent / name)
        outputs = {name: facts["sha256"] for name, facts in manifest["outputs"].items()}
    learning = next(step["seconds"] for step in manifest["steps"] if step["step"] == "learn")
    return {
        "workers": workers,
        "seconds": round(seconds, 1),
        "lines_per_second": round(2 * pairs / seconds),
        "lines_per_second_without_learning": round(2 * pairs / (seconds - learning)),
        "steps": manifest["steps"],
        "counts": manifest["counts"],
        "outputs": outputs,
        "memory_mib": memory.curve,
    }


def speed(folder: Path, pairs: int, merges: int, rounds: int) -> dict[str, Any]:
    """Time ours and sacremoses alone by turns, on one process and on two. Return the medians."""
    declaration = write_corpus(folder, pairs)
    rates: dict[str, list[float]] = {}
    sums = set()
    for _ in range(rounds):
        for workers in (1, 2):
            rates.setdefault(f"sacremoses, {workers}", []).append(
                sacremoses_rate(declaration, min(pairs, SAMPLE), workers)
            )
            ours = prepare_once(declaration, pairs, merges, workers)
            sums.add(json.dumps(ours["outputs"], sort_keys=True))
            rates.setdefault(f"prepare, {workers}", []).append(ours["lines_per_second_without_learning"])
            rates.setdefault(f"prepare with learning {merges:,} merges, {workers}", []).append(ours["lines_per_second"])
            print({name: [round(rate) for rate in values] for name, values in rates.items()}, flush=True)
    medians = {name: round(statistics.median(values)) for name, values in rates.items()}
    return {
        "pairs": pairs,
        "lines_per_second": medians,
        "all_rounds": {name: [round(rate) for rate in values] for name, values in rates.items()},
        "share_of_sacremoses": {w: round(medians[f"prepare, {w}"] / medians[f"sacremoses, {w}"], 3) for w in (1, 2)},
        "two_over_one": round(medians["prepare, 2"] / medians["prepare, 1"], 3),
        "same_bytes_with_1_and_2_workers": len(sums) == 1,
    }


def scale(folder: Path, pairs: int, merges: int, workers: int) -> dict[str, Any]:
    """Prepare a large corpus once. Return time and memory of every step, and an extrapolation to WMT14."""
    declaration = write_corpus(folder, pairs)
    # In a new process, because this one still holds memory from writing the corpus.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
        run = fresh.submit(prepare_once, declaration, pairs, merges, workers).result()
    del run["outputs"]
    steps = {step["step"]: step for step in run["steps"]}
    rate = round(sacremoses_rate(declaration, min(pairs, SAMPLE), workers))
    draw_memory(run, pairs, RESULTS / "prepare-scale.png")
    # The text is read at a constant speed, so time stands for pairs. The mean memory of the second half minus that of
    # the first half is therefore what half of the pairs add.
    seconds = steps["tokenise"]["seconds"]
    course = np.array([memory for second, memory in run["memory_mib"] if 0.05 * seconds < second < 0.95 * seconds])
    first, second = np.array_split(course, 2)
    slope = float(second.mean() - first.mean()) / (pairs / 2)  # MiB a pair
    tokenise = steps["tokenise"]["peak_memory_bytes"] / 2**20 + slope * (WMT14_PAIRS - pairs)
    learned_from = run["counts"]["train"]["types_learned_from"]
    learn = steps["learn"]["peak_memory_bytes"] / 2**20 * MOST_TYPES / learned_from
    return {
        "pairs": pairs,
        "sacremoses_lines_per_second": rate,
        "share_of_sacremoses": round(run["lines_per_second_without_learning"] / rate, 3),
        "share_of_sacremoses_with_learning": round(run["lines_per_second"] / rate, 3),
        "mib_per_million_pairs_while_tokenising": round(1e6 * slope, 2),
        "extrapolated_peak_mib_at_40.8_million_pairs": {"tokenise": round(tokenise), "learn": round(learn)},
        "hours_at_40.8_million_pairs": round(run["seconds"] * WMT14_PAIRS / pairs / 3600, 2),
        "run": run,
    }


def draw_memory(run: dict[str, Any], pairs: int, path: Path) -> None:
    """Draw the memory over time, with the steps of a preparation."""
    figure = Figure(figsize=(8, 3.6))
    FigureCanvasAgg(figure)
    figure.subplots_adjust(left=0.1, right=0.98, top=0.9, bottom=0.15)
    axes = figure.subplots()
    seconds, memory = zip(*run["memory_mib"], strict=True)
    axes.plot([second / 60 for second in seconds], memory, color="#0072B2")
    end = 0.0
    for step in run["steps"]:
        if step["seconds"] > 0.02 * run["seconds"]:
            axes.axvline(end / 60, color="0.8", linewidth=0.8, zorder=0)
            axes.text(end / 60, 0.98, f" {step['step']}", transform=axes.get_xaxis_transform(), va="top", fontsize=8)
        end += step["seconds"]
    axes.axhline(4096, color="#D55E00", linestyle=":", label="4 GiB")
    axes.set_ylim(0, 4500)
    axes.set_xlim(left=0)
    axes.set_xlabel("minutes")
    axes.set_ylabel("memory of all processes, MiB")
    axes.set_title(f"prepare: {pairs:,} pairs, {run['workers']} worker processes", fontsize=10)
    axes.legend(frameon=False, loc="center right")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Run one of the two benchmarks and write its figures."""
    utf8_output()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "scale"])
    parser.add_argument("--pairs", type=int, help="default: 200,000 (speed), 5,000,000 (scale)")
    parser.add_argument("--merges", type=int, help="default: 4,000 (speed), 32,000 (scale)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmark-prepare"))
    options = parser.parse_args()
    if options.what == "speed":
        result = speed(options.folder, options.pairs or 200_000, options.merges or 4_000, options.rounds)
    else:
        result = scale(options.folder, options.pairs or 5_000_000, options.merges or 32_000, options.workers)
    result |= {"environment": plain(environment()), **commit(Path(__file__).resolve().parent.parent)}
    path = RESULTS / f"prepare-{options.what}.json"
    write_json(path, result)
    print(json.dumps({key: value for key, value in result.items() if key not in ("run", "all_rounds")}, indent=2))


if __name__ == "__main__":
    main()
