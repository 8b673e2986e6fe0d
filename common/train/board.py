"""RUN/tensorboard: the lines of a training's log for TensorBoard.

The folder is made anew from the log at every start. A log has no line twice and none of an update that a kill undid, so
the folder has none either.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import nn

from common.contract import Seq2SeqModel
from common.decode.translate import decode_ids
from common.errors import UserError
from common.markdown import table
from common.prepare.prepared import Prepared
from common.recipe import Recipe

SAMPLES = 4
"""Development sentences that are translated at every validation, the first ones of the set."""
_PLACE = ("step", "epoch", "seconds")
"""Keys of a line of the log that say where it belongs."""


def require_tensorboard() -> Any:
    """Return PyTorch's `SummaryWriter`. Raise UserError if the package tensorboard, which it needs, is missing."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError("--tensorboard needs a package that is not here: pip install tensorboard") from None
    return SummaryWriter


class Board:
    """Writes RUN/tensorboard."""

    def __init__(self, run: Path, entries: Sequence[dict[str, Any]], recipe: Recipe, prepared: Prepared):
        """Make the folder anew. entries: the lines of the log so far."""
        folder, lines = run / "tensorboard", prepared.lines("valid")
        self._sources, self._references = lines["source"][:SAMPLES], lines["reference"][:SAMPLES]
        self._text = prepared.text
        # Greedy: a model at the beginning finishes no sentence, and GroundHog would widen the beam to 500 for each.
        self._decode = replace(recipe.decode, beam=1, retry=False)
        shutil.rmtree(folder, ignore_errors=True)
        # A TensorBoard that is looking at the folder forgets its points from `purge_step` on.
        self._writer = require_tensorboard()(str(folder), purge_step=0, flush_secs=10)
        # Its time axis then shows the time of training, breaks left out.
        self._began = time.time() - (entries[-1]["seconds"] if entries else 0.0)
        for entry in entries:
            self.add(entry)

    def translate(self, model: nn.Module) -> list[str]:
        """Return greedy translations of the first development sentences, detokenised. It draws no random number."""
        assert isinstance(model, Seq2SeqModel)
        ids = decode_ids(model, [self._text.encode_source(line) for line in self._sources], self._decode)
        return [self._text.detokenise(self._text.target_tokens(found.tokens)) for found in ids]

    def add(self, entry: dict[str, Any]) -> None:
        """Write a line of the log. What was measured on the development set goes to `dev/`, the rest to `train/`."""
        step, when = entry["step"], self._began + entry["seconds"]
        for key, value in entry.items():
            if key == "samples":
                rows = list(zip(self._sources, self._references, value, strict=False))
                shown = table(["source", "reference", "translation"], rows)
                self._writer.add_text("dev/samples", shown, step, walltime=when)
            elif key not in _PLACE and value is not None:
                name = f"dev/{key.removeprefix('dev_')}" if key.startswith("dev_") else f"train/{key}"
                self._writer.add_scalar(name, value, step, walltime=when)

    def __enter__(self) -> Board:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
