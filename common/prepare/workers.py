"""Work in several processes with bounded memory, and a measurement of the memory that they take together."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from typing import Any

import psutil

from common.errors import UserError

AHEAD = 2
"""Number of tasks handed out for each process: one in work, one waiting."""
SAMPLE = 0.5
"""Seconds between two measurements of memory."""

Task = tuple[Any, ...]


class Crew:
    """Processes that share tasks.

    `peak` is the largest memory (bytes) that this process and its children were measured to take together. Pages that
    several processes share are counted once if the system reports it (Linux: PSS).
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.alone = False
        """Do everything in this process. For little work, the start of other processes takes longer than the work."""
        self.peak = 0
        self._looked = -math.inf
        """Time of the last measurement of memory, in seconds of time.monotonic()."""

    def run(
        self,
        function: Callable[..., None],
        tasks: Iterable[Task],
        done: Callable[[Task], None] = lambda task: None,
        most: int | None = None,
    ) -> None:
        """Call `function(*task)` for every task, in parallel if there are several tasks and workers.

        tasks may be endless, because only a few are taken ahead of the work. done: called with each finished task.
        most: number of tasks at once, if a task takes much memory or disk.
        Raises what `function` raises, and UserError if a process was killed.
        """
        tasks = iter(tasks)
        first = list(islice(tasks, 2))
        if self.alone or self.workers == 1 or len(first) < 2:
            for task in chain(first, tasks):
                function(*task)
                done(task)
                self.look()
            return
        self._spread(min(self.workers, most or self.workers), function, chain(first, tasks), done)

    def run_apart(self, function: Callable[..., None], *task: Any) -> None:
        """Call `function(*task)` in a process of its own, which frees its memory when it ends."""
        if self.alone:
            function(*task)
        else:
            self._spread(1, function, [task], lambda task: None)

    def _spread(
        self, workers: int, function: Callable[..., None], tasks: Iterable[Task], done: Callable[[Task], None]
    ) -> None:
        with ProcessPoolExecutor(workers, multiprocessing.get_context("fork"), _follow, (os.getpid(),)) as pool:
            waiting: dict[Future[None], Task] = {}
            try:
                for task in tasks:
                    waiting[pool.submit(function, *task)] = task
                    while len(waiting) >= AHEAD * workers:
                        self._collect(waiting, done)
                while waiting:
                    self._collect(waiting, done)
            except BrokenProcessPool:
                raise UserError(
                    "a process was killed, perhaps for want of memory; run the same command again, or with --workers 1"
                ) from None
            finally:
                pool.shutdown(cancel_futures=True)

    def _collect(self, waiting: dict[Future[None], Task], done: Callable[[Task], None]) -> None:
        """Wait for a while, then take the tasks that have finished."""
        finished, _ = wait(waiting, timeout=SAMPLE, return_when=FIRST_COMPLETED)
        self.look()
        for future in finished:
            task = waiting.pop(future)
            future.result()
            done(task)

    def look(self, at_once: bool = False) -> None:
        """Measure the memory taken now, unless this was done less than SAMPLE seconds ago."""
        now = time.monotonic()
        if at_once or now - self._looked >= SAMPLE:
            self.peak = max(self.peak, memory_of_all())
            self._looked = now


def memory_of_all() -> int:
    """Return the bytes of memory that this process and its children take together."""
    own = psutil.Process()
    total = 0
    for process in (own, *own.children(recursive=True)):
        try:
            memory = process.memory_full_info()
            total += getattr(memory, "pss", memory.rss)
        except psutil.Error:  # it ended while we looked
            continue
    return total


def _follow(parent: int) -> None:
    """Ignore Ctrl-C, which the parent process handles, and end when the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with(parent)


def end_with(parent: int) -> None:
    """End this process as soon as its parent, of that process id, is gone. A killed parent cannot end its children.

    Under torchrun the parent's parent is watched.
    """

    def watch() -> None:
        while os.getppid() == parent or "TORCHELASTIC_RUN_ID" in os.environ and _alive(parent):
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except OSError:
        return False
    return True
