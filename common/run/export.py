"""A trained run as a folder for use elsewhere: weights, text pipeline, recipe and model card.

DIR/README.md            the model card, made from RUN/result.json
DIR/export.json          the format and the checksums of all other files (common/run/exported.py)
DIR/recipe.yaml          every field of the recipe, those of the model included
DIR/text/                vocabularies, BPE codes or word pieces, and the name of the tokeniser
DIR/model.safetensors    the weights that were scored, or the files of another program's format

It needs neither the run nor the prepared data. `load_run` reads the format `safetensors` as it reads a run.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError
from common.files import first_changed, write_whole
from common.paper import Paper
from common.report.results import Result
from common.report.tables import every_score, provenance, standard_notes
from common.result import read_result
from common.run.evaluate import searched_otherwise, translate
from common.run.exported import CARD, OWN, several, write_export
from common.run.folder import REPOSITORY, LoadedRun, load_run, read_recipe, text_again, write_recipe
from common.run.record import commit
from common.text.pipeline import FILES
from common.train.checkpoint import save_weights
from common.typed import plain


@dataclass(frozen=True)
class Format:
    """A format in which a model is exported."""

    write: Callable[[LoadedRun, Path], None]
    """Writes weights and configuration of a run into a folder that exists. Raises UserError if the format cannot hold
    the model."""
    usage: str
    """Python lines that translate a sentence, for the model card. `FOLDER` stands for the exported folder."""
    loader: str
    """Name of what opens the folder in these lines."""
    remarks: tuple[str, ...] = ()
    """What the program that reads the format does otherwise than this one."""


@dataclass(frozen=True)
class Translator:
    """A trained model, ready to translate."""

    run: LoadedRun

    def translate(self, sentences: Iterable[str]) -> list[str]:
        """Return the translations of untokenised sentences by the recipe's search. Raise UserError for a single one."""
        return list(translate(self.run, several(sentences)))


def load(paper: Paper, folder: Path) -> Translator:
    """Open a run's folder, or one exported in the format `safetensors`. Raise UserError as `load_run` does."""
    return Translator(load_run(paper, folder, exported=True))


def export_run(paper: Paper, run: Path, out: Path, name: str = OWN) -> None:
    """Write the scored run `run` to the new folder `out` in the format `name`. A reader sees all of it or nothing.

    Raise UserError if `out` has something in it, if weights or words are not those of RUN/result.json, or if the format
    cannot hold the model.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: is there already; choose another --out folder or delete it")
    loaded = load_run(paper, run, ["run.device=cpu"])
    result = _scored(paper, loaded)
    kind = _own(paper) if name == OWN else paper.format(name)
    part = out.with_name(f".{out.name}.part{os.getpid()}")
    try:
        (part / "text").mkdir(parents=True)
        kind.write(loaded, part)
        loaded.text.save(part / "text")
        write_recipe(part, read_recipe(paper, run))
        write_export(part, name, kind.loader)
        write_whole(part / CARD, model_card(paper, loaded, result, kind, out))
        with suppress(FileNotFoundError):
            out.rmdir()
        os.replace(part, out)
    except OSError as error:
        raise UserError(f"{out}: cannot be written ({error.strerror}); choose another --out folder") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _scored(paper: Paper, run: LoadedRun) -> Result:
    """Return the run's result. Raise UserError if there is none of these weights and words, and of this search."""
    path = run.path / "result.json"
    if not path.is_file():
        raise UserError(f"{run.path}: no result.json, from which the model card is made; run `score {run.path}` first")
    result = Result(run.path.name, path, read_result(path))
    if result.file.weights != run.weights:
        raise UserError(f"{path}: scores other weights than {run.decoded}; run `score {run.path}` again")
    if other := searched_otherwise(paper, run.path, result.recipe):
        raise UserError(f"{path}: is the score with {other}, not of the recipe; run `score {run.path}` again")
    prepared = result.file.data.get("outputs", {})
    words = [name for name in prepared if name in FILES and name != "text.json"]  # an older one has other keys
    if changed := first_changed(run.path / "text", {name: prepared[name]["sha256"] for name in words}):
        raise UserError(f"{changed}: not as it was prepared (by result.json); {text_again(run.path)}")
    return result


def _own(paper: Paper) -> Format:
    """Return the format that this program reads, which holds every model of a paper."""

    def write(run: LoadedRun, folder: Path) -> None:
        save_weights(folder / "model.safetensors", run.model.state_dict(), plain(run.weights))

    usage = (
        f"from papers.{paper.name}.paper import PAPER\nmodel = PAPER.load(FOLDER)\nprint(model.translate([SENTENCE]))"
    )
    return Format(write, usage, f"papers.{paper.name}.paper.PAPER.load")


def model_card(paper: Paper, run: LoadedRun, result: Result, kind: Format, out: Path) -> str:
    """Return the README of an exported folder. All numbers are those of the result."""
    recipe, decode = run.recipe, result.recipe["decode"]
    pair = f"{recipe.data.source} to {recipe.data.target}"
    results, program = {result.system: result}, str(commit(REPOSITORY)["commit"])[:7]
    usage = kind.usage.replace("FOLDER", json.dumps(out.name)).replace("SENTENCE", _sentence(result))
    alpha = f" with alpha {decode['alpha']:g}" if decode["length_penalty"] == "gnmt" else ""
    parts = [
        f"---\nlanguage: [{recipe.data.source}, {recipe.data.target}]\nlicense: other\npipeline_tag: translation\n---",
        f"# {recipe.title}, {pair}",
        f"{_parameters(result)}The model of *{paper.title}* ({paper.citation}), trained by the recipe `{recipe.name}` "
        f"on {result.corpus}{' (generated text)' if result.generated else ''}.",
        f"## Use\n\n```python\n{usage}\n```",
        f"Run it in a checkout of the program, or with PYTHONPATH set to one (commit {program} wrote this folder). "
        "`recipe.yaml` has every field of the model, and `text/` all that is needed between text and ids.",
        "\n".join(f"- {remark}" for remark in kind.remarks),
        f"## Scores\n\n{every_score(results)}\n{provenance(results)}\n"
        f"- Search: beam {decode['beam']}, length penalty {decode['length_penalty']}{alpha}\n"
        + "\n".join(f"- {note}" for note in standard_notes(results)),
        f"## Data\n\n{_data(result)}",
        f"## Limits\n\n{_limits(run, result)}",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _sentence(result: Result) -> str:
    """Return a source sentence of those that the result keeps, as a Python literal."""
    kept = [example.line for example in result.attention] or [one.source for one in result.longest]
    return repr(min(kept, key=len))


def _parameters(result: Result) -> str:
    count = result.parameters
    return f"{count:,} parameters. " if count else ""


def _data(result: Result) -> str:
    """Return what the model was trained on."""
    facts, text = result.file.data, result.recipe["text"]
    used = facts["train_used"]
    lines = [
        f"- Text: {result.corpus}, {used['pairs']:,} sentence pairs"
        + (f" of at most {used['max_length']} tokens" if used["max_length"] else ""),
        f"- Licence of the text: {facts.get('licence') or 'none is declared'}",
        f"- Citation: {facts.get('citation') or 'none is declared'}",
        f"- Tokeniser {text['tokeniser']}, {'lower-cased' if text['lowercase'] else 'cased'}, segmentation "
        f"{text['segmentation']}, {text['vocabulary_size']:,} rows in each vocabulary",
    ]
    return "\n".join(lines)


def _limits(run: LoadedRun, result: Result) -> str:
    """Return what the model is not made for."""
    unknown = "Characters" if run.text.segmenter else "Words"
    lines = [
        f"It translates single sentences of {run.recipe.data.source}, and knows nothing of those around them.",
        "The text was made by a program. On any other text the model is of no use." if result.generated else "",
        f"{unknown} that the training text lacks, or has too rarely, become UNK.",
        "It reads and writes lower case only." if run.text.lowercase else "",
        "Translations were scored, and not examined for errors of fact, bias or harm.",
        "The weights were made from the text above, whose licence may bind whoever uses them.",
    ]
    return "\n".join(f"- {line}" for line in lines if line)
