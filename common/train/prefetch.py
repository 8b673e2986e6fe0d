"""Minibatches that are made ahead of their use, in another thread, so that no update waits for its data."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Prefetched(Generic[Item]):
    """The items of an endless iterator in their order, at most `ahead` of them before they are asked for.

    An exception of the iterator is raised where its next item is asked for, after the items before it. Use it as a
    context manager: the thread ends with the block.
    """

    def __init__(self, items: Iterator[Item], ahead: int = 8) -> None:
        self._items = items
        self._made: queue.Queue[Item | Exception] = queue.Queue(ahead)
        self._ended = threading.Event()
        # A daemon: a process that is told to end at once does not wait for it.
        self._thread = threading.Thread(target=self._make, name="minibatches", daemon=True)

    def __enter__(self) -> Prefetched[Item]:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        while self._thread.is_alive():
            try:
                self._made.get_nowait()  # frees a place, for which the thread may be waiting
            except queue.Empty:
                self._thread.join(0.01)

    def __next__(self) -> Item:
        item = self._made.get()
        if isinstance(item, Exception):
            raise item
        return item

    def _make(self) -> None:
        try:
            for item in self._items:
                self._made.put(item)
                if self._ended.is_set():
                    return
        except Exception as error:
            self._made.put(error)
