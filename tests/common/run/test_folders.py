"""What is no run of the paper is refused by every verb in one line, which names the folder and a cure that works."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from common.paper import Paper
from common.run.export import export_run
from common.run.exported import NAME
from papers.bahdanau2014.paper import PAPER as BAHDANAU
from papers.lineage.deletion.paper import PAPER as DELETION
from papers.vaswani2017.paper import PAPER as VASWANI
from tests.common.run.test_export import made_run
from tests.made_runs import LINES
from tests.test_faults import call, files

STDIN = "\n".join(LINES[:3]).encode()
VERBS = [
    "translate {}",
    "translate {} --attention {root}/page.html",
    "translate {} --replace-unk {root}/a-file",
    "score {} --runs {root}",
    "score {} --runs {root} --replace-unk {root}/a-file",
    "analyse {} --runs {root}",
    "diagnose {}",
    "diagnose {root}/run --with {}",
    "average {}",
    "average {} --last 1",
    "export {} --out {root}/new",
    "train demo/base --out {} --runs {root}",
]
A_RUN = "name the folder of a run, which `train` made"
ANOTHER_OUT = "choose another --out folder"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, its exported folders, a run of the other paper, an empty folder, and an empty file."""
    root = tmp_path_factory.mktemp("folders")
    made_run(VASWANI, root)
    (root / "run" / "log.jsonl").write_text('{"step": 8, "epoch": 0, "seconds": 1.0, "loss": 2.0}\n')
    for form in ("safetensors", "marian"):
        export_run(VASWANI, root / "run", root / form, form)
    made_run(BAHDANAU, root / "theirs")
    (root / "empty").mkdir()
    (root / "a-file").touch()
    return root


def refused(root: Path, verb: str, folder: str, says: str, paper: Paper = VASWANI) -> None:
    """Call the verb and compare the message that follows the folder's path. No file may change."""
    before, words = files(root), verb.replace("{root}", str(root)).replace("{}", str(root / folder))
    done = call(words, paper, STDIN)
    assert done.err == f"python -m papers.{paper.name}: {root / folder}: {says}\n"
    assert (done.status, done.out) == (2, "") and files(root) == before


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("form", ["safetensors", "marian", "ctranslate2"])
def test_an_exported_folder_is_no_run(form: str, verb: str, root: Path) -> None:
    if form == "ctranslate2" and not (root / form).exists():
        pytest.importorskip("ctranslate2", reason="pip install ctranslate2")
        export_run(VASWANI, root / "run", root / form, form)
    if not verb.startswith("translate"):
        cure = ANOTHER_OUT if verb.startswith("train") else A_RUN
        refused(root, verb, form, f"an exported model (format {form}), without its training; {cure}")
    elif form != "safetensors":
        loader = {"marian": "transformers.MarianMTModel"}.get(form, "papers.vaswani2017.formats.CTranslate2")
        cure = "(README.md there says how); open it so, or export the run in the format safetensors"
        refused(root, verb, form, f"exported in the format {form}, which {loader} opens {cure}")


@pytest.mark.parametrize("verb", VERBS)
def test_a_run_of_the_other_paper(verb: str, root: Path) -> None:
    how = "made by bahdanau2014; call `python -m papers.bahdanau2014` with it, or name another folder"
    refused(root, verb, "theirs/run", how)


def test_the_other_paper_opens_what_it_made(root: Path) -> None:
    assert call(f"translate {root}/theirs/run", BAHDANAU, STDIN).status == 0
    assert call(f"translate {root}/safetensors", VASWANI, STDIN).status == 0
    how = "made by vaswani2017; call `python -m papers.vaswani2017` with it, or name another folder"
    refused(root, "translate {}", "safetensors", how, BAHDANAU)
    refused(root, "translate {}", "safetensors", how, DELETION)


@pytest.mark.parametrize("verb", [verb for verb in VERBS if not verb.startswith("train")])
@pytest.mark.parametrize("folder", ["empty", "nowhere"])
def test_a_folder_without_a_run(folder: str, verb: str, root: Path) -> None:
    if folder == "nowhere" and "--with" in verb:
        refused(root, verb, folder, "no such file or folder; --with wants a RESULT.json or a RUN folder")
    else:
        how = f"make one with `train RECIPE --out {root / folder}`"
        refused(root, verb, folder, f"not a run folder (no recipe.yaml); {how}")


@pytest.mark.parametrize("verb", [verb for verb in VERBS if "--with" not in verb])
def test_a_file_is_no_run(verb: str, root: Path) -> None:
    refused(root, verb, "a-file", f"a file, not a run folder; {ANOTHER_OUT if verb.startswith('train') else A_RUN}")


@pytest.mark.parametrize("verb", VERBS)
def test_a_folder_that_was_exported_without_checksums(verb: str, root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "safetensors", tmp_path / "old")
    shutil.copytree(root / "run", tmp_path / "run")
    (tmp_path / "a-file").touch()
    (tmp_path / "old" / NAME).unlink()
    how = "an exported model without export.json, which has the checksums; export the run again"
    refused(tmp_path, verb, "old", how)
