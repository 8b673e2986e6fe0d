"""Checkpoints: a file is written completely or not at all, loaded without pickle, and averaged in float64."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from common.errors import UserError
from common.files import uninterrupted, write_whole


def save_weights(path: Path, weights: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Save weights as safetensors, with `about` in the header.

    about: for instance the update, the recipe's name, the updates that an average was made of.
    """
    save_tensors(path, weights, {"about": json.dumps(about, sort_keys=True)})


def save_tensors(path: Path, tensors: dict[str, Tensor], header: dict[str, str]) -> None:
    """Write a safetensors file completely or not at all. Raise UserError if the disk refuses."""
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}

    def write(part: Path) -> None:
        part.touch()
        usual = part.stat().st_mode  # by the umask; safetensors would let the owner alone read it
        try:
            with uninterrupted():
                save_file(held, part, metadata=header)
            part.chmod(usual)
        except SafetensorError as error:  # its own error for a full disk
            raise OSError(" ".join(str(error).split())) from None

    write_whole(path, write)


def load_weights(path: Path, tensors: bool = True) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Load weights and the header's `about`.

    tensors: False reads the header only. Raise UserError if the file is missing, damaged or of another format.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint; train the run first")
    try:
        with uninterrupted(), safe_open(path, framework="pt") as handle:
            about = json.loads((handle.metadata() or {}).get("about", "{}"))
            return {name: handle.get_tensor(name) for name in handle.keys() if tensors}, about
    except (SafetensorError, OSError, ValueError):
        cure = "delete it, and make it again: `average` the mean, `train` a checkpoint"
        raise UserError(f"{path}: damaged or not a safetensors checkpoint; {cure}") from None


def read_about(path: Path) -> dict[str, Any]:
    """Read the header's `about` only. Raise UserError as `load_weights` does."""
    return load_weights(path, tensors=False)[1]


def restore(model: torch.nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    """Load `weights` into `model`. Raise UserError that names the first tensor that does not fit."""
    own = model.state_dict()
    # All names and shapes are checked before the first tensor is loaded: after an error the model is unchanged.
    for name in sorted(own.keys() ^ weights.keys()):
        raise UserError(
            f"{path}: checkpoint of another model: `{name}` is only in {'the recipe' if name in own else 'the file'}"
        )
    for name, tensor in own.items():
        if tensor.shape != weights[name].shape:
            shapes = f"{tuple(weights[name].shape)} there, {tuple(tensor.shape)} in the recipe"
            raise UserError(f"{path}: checkpoint of another model: `{name}` is {shapes}")
    model.load_state_dict(weights)


def kept_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder, the oldest first. A checkpoint's name is its number of updates."""
    return sorted(path for path in folder.glob("*.safetensors") if path.stem.isdigit())


def average(paths: Sequence[Path]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the arithmetic mean of the checkpoints in `paths`, and which updates it was made of (Vaswani2017 §6.1).

    Sums are in float64, one file at a time. The means have the tensors' own types. Integer tensors must be equal in all
    files. Raise UserError if there is no file or the files do not belong together.
    """
    if not paths:
        raise UserError("no checkpoints to average; train the run first")
    total: dict[str, Tensor] = {}
    kinds: dict[str, torch.dtype] = {}
    steps: list[int] = []
    for path in paths:
        weights, about = load_weights(path)
        steps.append(int(about.get("step", -1)))
        if not total:
            kinds = {name: tensor.dtype for name, tensor in weights.items()}
            total = {
                name: tensor.double() if tensor.is_floating_point() else tensor for name, tensor in weights.items()
            }
            continue
        _accumulate(total, weights, path)
    mean = {
        name: (tensor / len(paths)).to(kinds[name]) if tensor.is_floating_point() else tensor
        for name, tensor in total.items()
    }
    return mean, {"averaged_steps": steps}


def _accumulate(total: dict[str, Tensor], weights: dict[str, Tensor], path: Path) -> None:
    """Add one checkpoint to the running sum in place. Raise UserError if its tensors do not match the sum's."""
    if total.keys() != weights.keys():
        raise UserError(f"{path}: holds other tensors than the checkpoints before it; average one run's only")
    for name, tensor in weights.items():
        if tensor.shape != total[name].shape:
            raise UserError(f"{path}: `{name}` has another shape than in the checkpoints before it")
        if tensor.is_floating_point():
            total[name] += tensor.double()
        elif not torch.equal(tensor, total[name]):
            raise UserError(f"{path}: integer tensor `{name}` differs between the checkpoints; it cannot be averaged")
