"""A state comes back bit for bit, or the one before it does; no damage passes, and no code runs."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from common.errors import UserError
from common.files import uninterrupted
from common.train.state import forget_later, load_state, save_state
from tests.common.train.test_checkpoint import files_no_larger_than


def state(step: int) -> dict[str, Any]:
    """Everything that an optimizer's and a trainer's state may hold."""
    draw = torch.Generator().manual_seed(step)
    moments = {
        index: {"step": torch.tensor(float(step)), "exp_avg": torch.randn(3, 2, generator=draw), "count": step}
        for index in range(2)
    }
    return {
        "step": step,
        "progress": {"seconds": 0.1 + step, "epoch": 2},
        "model": {"W": torch.randn(4, 5, generator=draw), "half": torch.ones(3, dtype=torch.bfloat16)},
        "optimizer": {"state": moments, "param_groups": [{"lr": 1e-7 / 3, "betas": (0.9, 0.98), "params": [0, 1]}]},
        "rng": [draw.get_state(), torch.get_rng_state()],
        "cuda_rng": [],
        "none": None,
        "flag": True,
    }


def same(one: Any, other: Any) -> bool:
    """Return whether two states are equal to the bit; a tuple counts as a list."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


def files(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "state").iterdir())


def test_a_state_comes_back_bit_for_bit_and_two_are_kept(tmp_path: Path) -> None:
    assert load_state(tmp_path) is None
    for step in (5, 10, 15):
        save_state(tmp_path, step, state(step))
    path, found = load_state(tmp_path)  # type: ignore[misc]
    assert path.name == "000000015.safetensors" and same(found, state(15))
    assert files(tmp_path) == ["000000010.safetensors", "000000015.safetensors"]
    forget_later(tmp_path, 10)
    assert files(tmp_path) == ["000000010.safetensors"]


@pytest.mark.parametrize("place", [0, 8, 60, 400, -300, -1])
def test_a_flipped_bit_is_found_and_the_state_before_is_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], place: int
) -> None:
    save_state(tmp_path, 5, state(5))
    save_state(tmp_path, 10, state(10))
    damaged = tmp_path / "state" / "000000010.safetensors"
    content = bytearray(damaged.read_bytes())
    content[place] ^= 16
    damaged.write_bytes(content)
    path, found = load_state(tmp_path)  # type: ignore[misc]
    assert path.name == "000000005.safetensors" and same(found, state(5))
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and str(damaged) in said and "damaged" in said


@pytest.mark.parametrize("keep", [0, 7, 0.5, 0.999])
def test_a_torn_state_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str], keep: float) -> None:
    save_state(tmp_path, 5, state(5))
    path = tmp_path / "state" / "000000005.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: int(keep if keep >= 1 else keep * len(content))])
    with pytest.raises(UserError, match=r"000000005.safetensors: damaged, .*start over") as caught:
        load_state(tmp_path)
    assert "\n" not in str(caught.value) and "damaged" in capsys.readouterr().err


def test_an_interrupt_is_no_damage(tmp_path: Path) -> None:
    """The library in between would take it for a damaged file, and the state before would be used instead."""
    with pytest.raises(KeyboardInterrupt), uninterrupted():
        os.kill(os.getpid(), signal.SIGINT)
        save_state(tmp_path, 5, state(5))
    path, found = load_state(tmp_path)  # type: ignore[misc]
    assert path.name == "000000005.safetensors" and same(found, state(5))
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_a_full_disk_leaves_the_old_states(tmp_path: Path) -> None:
    save_state(tmp_path, 5, state(5))
    before = (tmp_path / "state" / "000000005.safetensors").read_bytes()
    with files_no_larger_than(50_000), pytest.raises(UserError, match="free space"):
        save_state(tmp_path, 10, {"model": torch.ones(100_000)})
    assert files(tmp_path) == ["000000005.safetensors"]
    assert (tmp_path / "state" / "000000005.safetensors").read_bytes() == before


def test_a_state_of_an_earlier_version_never_runs_code(tmp_path: Path) -> None:
    """A pickle that would make a folder when loaded is refused instead."""

    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "made"),)

    torch.save({"step": Evil(), "model": {}, "optimizer": {}, "data": ""}, tmp_path / "state.pt")
    with pytest.raises(UserError, match="state.pt: damaged or not a training state"):
        load_state(tmp_path)
    assert not (tmp_path / "made").exists()
