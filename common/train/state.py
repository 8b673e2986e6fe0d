"""The state of a training: everything that a stopped training needs to continue bit for bit.

A state is one file, RUN/state/<update>.safetensors. Its header holds the plain values as JSON, and a checksum over the
values and the tensors. No file is unpickled. The state before the last one is kept too, so that a file which the disk
or the machine has damaged costs some updates and not the training.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from common.errors import UserError
from common.files import uninterrupted
from common.train.checkpoint import kept_checkpoints, save_tensors

KEPT = 2
"""States in a run's folder: the last one and the one before."""
_TENSOR = "tensor"
"""Key of the plain value that stands for a tensor; its value is the tensor's name in the file."""
_PAIRS = "pairs"
"""Key of the plain value that stands for a dictionary whose keys are not text."""


def save_state(run: Path, step: int, state: dict[str, Any]) -> None:
    """Save the state after update `step`, read it back, and only then delete the state before the previous one.

    state: nested dictionaries and lists of plain values and tensors. Raise UserError if the disk refuses or gives back
    something else.
    """
    path = _folder(run) / f"{step:09d}.safetensors"
    tensors: dict[str, Tensor] = {}
    values = json.dumps(_plain(state, "", tensors))
    save_tensors(path, tensors, {"values": values, "sha256": _checksum(values, tensors)})
    if _read(path) is None:
        raise UserError(f"{path}: the disk does not give back what was written; check it, then run again")
    for old in _paths(run)[:-KEPT]:
        old.unlink()


def load_state(run: Path) -> tuple[Path, dict[str, Any]] | None:
    """Load the last state in the folder `run` that is whole. Return its file and the state, None if there is no file.

    Print a line on standard error for each damaged file. Raise UserError if no file is whole.
    """
    paths = _paths(run)
    for path in reversed(paths):
        if (state := _read(path)) is not None:
            return path, state
        print(f"{path}: damaged, its checksum does not fit; the state before it is used", file=sys.stderr)
    if paths:
        raise UserError(
            f"{paths[-1]}: damaged, and no state before it is whole; the checkpoints can still be averaged and scored, "
            f"or delete {run} to start over"
        )
    earlier = run / "state.pt"
    return (earlier, _read_earlier(earlier)) if earlier.is_file() else None


def forget_later(run: Path, step: int) -> None:
    """Delete states after update `step`: the training goes on from there, and they are damaged or of another one."""
    for path in _paths(run):
        if int(path.stem) > step:
            path.unlink()


def has_state(run: Path) -> bool:
    """Return whether a training has saved a state in the folder `run`."""
    return bool(_paths(run)) or (run / "state.pt").is_file()


def has_updates(run: Path) -> bool:
    """Return whether a run folder holds anything that updates have made.

    A folder without such a file may be used for any recipe.
    """
    made = (run / "model.safetensors", run / "training.json")
    return has_state(run) or any(path.is_file() for path in made) or bool(kept_checkpoints(run / "checkpoints"))


def _folder(run: Path) -> Path:
    return run / "state"


def _paths(run: Path) -> list[Path]:
    """Return the files of states, the oldest first."""
    return sorted(path for path in _folder(run).glob("*.safetensors") if path.stem.isdigit())


def _read(path: Path) -> dict[str, Any] | None:
    """Read a state. Return None if the file is not what `save_state` wrote."""
    try:
        with uninterrupted(), safe_open(path, framework="pt") as handle:
            header = handle.metadata() or {}
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}
        if header["sha256"] != _checksum(header["values"], tensors):
            return None
        state: dict[str, Any] = _restored(json.loads(header["values"]), tensors)
        return state
    except (SafetensorError, OSError, ValueError, KeyError):
        return None


def _checksum(values: str, tensors: dict[str, Tensor]) -> str:
    """Return the SHA-256 of the plain values and of every tensor's name, type, shape and bytes."""
    digest = hashlib.sha256(values.encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _plain(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """Return `value` for JSON, with its tensors moved to `tensors` under their place in it."""
    if isinstance(value, Tensor):
        tensors[name] = value
        return {_TENSOR: name}
    if isinstance(value, dict):
        items = [(key, _plain(item, f"{name}/{key}", tensors)) for key, item in value.items()]
        # JSON has text for keys; the optimizer's parameters are numbered.
        return dict(items) if all(isinstance(key, str) for key in value) else {_PAIRS: items}
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{name}/{index}", tensors) for index, item in enumerate(value)]
    return value


def _restored(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Return what `_plain` was given."""
    if isinstance(value, dict):
        if value.keys() == {_TENSOR}:
            return tensors[value[_TENSOR]]
        items = value[_PAIRS] if value.keys() == {_PAIRS} else value.items()
        return {key: _restored(item, tensors) for key, item in items}
    if isinstance(value, list):
        return [_restored(item, tensors) for item in value]
    return value


def _read_earlier(path: Path) -> dict[str, Any]:
    """Read the state of a training by an earlier version: state.pt, of one process."""
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if isinstance(state["rng"], Tensor):
            state["rng"] = [state["rng"]]
        return state
    except Exception as error:  # torch.load raises half a dozen kinds on a damaged archive
        if isinstance(error, MemoryError):
            raise
        raise UserError(f"{path}: damaged or not a training state; delete {path.parent} to start over") from None
