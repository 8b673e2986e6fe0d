"""Checkpoints: averaging by its definition, and what happens to damaged and foreign files."""

from __future__ import annotations

import contextlib
import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import UserError
from common.train.checkpoint import average, load_weights, restore, save_weights


def write(folder: Path, step: int, **tensors: torch.Tensor) -> Path:
    path = folder / f"{step:09d}.safetensors"
    save_weights(path, tensors, {"step": step})
    return path


def test_weights_may_be_read_by_whom_the_umask_lets(tmp_path):
    """As every other file of a run."""
    (tmp_path / "other").touch()
    path = write(tmp_path, 1, W=torch.ones(2))
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode


def test_average_is_the_arithmetic_mean(tmp_path):
    draws = [torch.randn(3, 4) for _ in range(5)]
    paths = [write(tmp_path, step, W=draw) for step, draw in enumerate(draws)]
    mean, about = average(paths)
    expected = np.mean([draw.double().numpy() for draw in draws], axis=0)
    np.testing.assert_allclose(mean["W"].numpy(), expected, rtol=1e-6)
    assert mean["W"].dtype == torch.float32 and about == {"averaged_steps": [0, 1, 2, 3, 4]}


@settings(max_examples=20)
@given(order=st.permutations(range(4)))
def test_average_does_not_depend_on_order(tmp_path_factory, order):
    folder = tmp_path_factory.mktemp("average")
    paths = [write(folder, step, W=torch.full((2,), 0.1 * 3**step)) for step in range(4)]
    assert torch.equal(average(paths)[0]["W"], average([paths[i] for i in order])[0]["W"])


def test_average_of_copies_is_the_copy_even_in_half_precision(tmp_path):
    value = torch.randn(7).to(torch.bfloat16)
    paths = [write(tmp_path, step, W=value) for step in range(3)]
    assert torch.equal(average(paths)[0]["W"], value)


def test_average_refuses_what_does_not_belong_together(tmp_path):
    one = write(tmp_path, 1, W=torch.zeros(2), n=torch.tensor([1]))
    with pytest.raises(UserError, match="other tensors"):
        average([one, write(tmp_path, 2, W=torch.zeros(2))])
    with pytest.raises(UserError, match="another shape"):
        average([one, write(tmp_path, 3, W=torch.zeros(3), n=torch.tensor([1]))])
    with pytest.raises(UserError, match="integer"):
        average([one, write(tmp_path, 4, W=torch.zeros(2), n=torch.tensor([2]))])
    with pytest.raises(UserError, match="no checkpoints"):
        average([])


@pytest.mark.parametrize("keep", [0, 5, 60])
def test_truncated_checkpoint_is_one_line(tmp_path, keep):
    path = write(tmp_path, 1, W=torch.zeros(100))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match="damaged") as caught:
        load_weights(path)
    assert "\n" not in str(caught.value)


def test_foreign_checkpoint_names_the_tensor(tmp_path):
    model = torch.nn.Linear(2, 3)
    with pytest.raises(UserError, match="weight.*only in"):
        restore(model, {"bias": torch.zeros(3)}, tmp_path)
    with pytest.raises(UserError, match=r"\(4,\) there, \(3,\)"):
        restore(model, {"bias": torch.zeros(4), "weight": torch.zeros(3, 2)}, tmp_path)


@contextlib.contextmanager
def files_no_larger_than(size: int):
    """Let the kernel refuse to grow any file past `size`, which is as near to a full disk as a test can come."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_full_disk_is_one_line_and_leaves_the_old_file(tmp_path):
    weights = write(tmp_path, 1, W=torch.zeros(2))
    before = weights.read_bytes()
    with files_no_larger_than(50_000), pytest.raises(UserError, match="free space") as caught:
        save_weights(weights, {"W": torch.ones(100_000)}, {"step": 1})
    assert "\n" not in str(caught.value)
    assert weights.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["000000001.safetensors"]
