"""Provenance: commits of real repositories, hashes with known values, and writes that fail in the middle."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch

from common.errors import UserError
from common.files import sha256_json, write_json
from common.result import Environment
from common.run.record import commit, environment
from common.typed import build, plain


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-C", str(root), *identity, *arguments]
    return subprocess.run(command, env=clean, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    root.mkdir()
    git(root, "init", "-q")
    (root / "file").write_text("one\n")
    git(root, "add", "file")
    git(root, "commit", "-q", "-m", "first", "--no-verify")
    return root


def test_environment_is_complete_and_can_be_written() -> None:
    found = environment("cpu")
    assert set(plain(found)) == {"hardware", "threads", "python", "torch", "sacrebleu", "platform"}
    assert found.hardware.endswith(f"{os.cpu_count()} cores") and found.hardware[0] not in ", "
    assert found.threads == torch.get_num_threads()
    assert build(Environment, json.loads(json.dumps(plain(found))), "environment", "here") == found


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_environment_names_the_gpu() -> None:
    assert environment().hardware == environment("cuda:0").hardware == f"1x {torch.cuda.get_device_name(0)}"


def test_commit_of_a_clean_and_a_changed_tree(repository: Path) -> None:
    head = git(repository, "rev-parse", "HEAD")
    assert commit(repository) == {"commit": head, "dirty": False}
    (repository / "untracked").write_text("two\n")
    assert commit(repository) == {"commit": head, "dirty": False}
    (repository / "file").write_text("two\n")
    assert commit(repository) == {"commit": head, "dirty": True}


def test_commit_does_not_take_a_surrounding_repository_for_its_own(repository: Path) -> None:
    inner = repository / "unpacked"
    inner.mkdir()
    assert commit(inner) == {"commit": None, "dirty": True}


def test_commit_without_commits_repository_or_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = {"commit": None, "dirty": True}
    assert commit(tmp_path / "missing") == unknown
    assert commit(tmp_path) == unknown
    git(tmp_path, "init", "-q")
    assert commit(tmp_path) == unknown
    monkeypatch.setenv("PATH", "")
    assert commit(tmp_path) == unknown


def test_commit_ignores_the_repository_of_a_hook(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = git(repository, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(repository / "elsewhere"))
    assert commit(repository)["commit"] == head


def test_sha256_json_is_canonical() -> None:
    value = {"b": [1, 2.5, None], "a": {"y": "é", "x": True}}
    assert sha256_json(value) == sha256_json(json.loads(json.dumps(dict(reversed(value.items())), indent=3)))
    assert sha256_json(value) != sha256_json({**value, "b": [2.5, 1, None]})
    with pytest.raises(ValueError):
        sha256_json(float("nan"))


def test_write_json(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "result.json"
    write_json(path, {"score": 27.3, "name": "é"})
    write_json(path, {"score": 28.4, "name": "é"})
    assert path.read_text(encoding="utf-8") == '{\n  "score": 28.4,\n  "name": "é"\n}\n'
    assert list(path.parent.iterdir()) == [path]
    with pytest.raises(ValueError):
        write_json(path, {"score": float("nan")})
    assert json.loads(path.read_text(encoding="utf-8"))["score"] == 28.4


def test_full_disk_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "result.json"
    write_json(path, {"score": 27.3})

    def no_space(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(UserError, match=r"result\.json: cannot be written \(No space left on device\)"):
        write_json(path, {"score": 28.4})
    assert json.loads(path.read_text()) == {"score": 27.3}
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_in_the_folders_place_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_json(tmp_path / "taken" / "result.json", {})
