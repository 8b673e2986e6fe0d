"""An exported folder: how it is told from a run, and how a damaged one is.

DIR/export.json has its format and the SHA-256 of every file but README.md, to which anyone may add. Word pieces with a
line less, or weights with other numbers, would still translate, only wrongly.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError
from common.files import checksums, first_changed, write_json
from common.result import read_typed
from common.typed import plain

NAME = "export.json"
CARD = "README.md"
OWN = "safetensors"
"""The format that this program reads."""
_READ = ("recipe.yaml", "text/*", "*.json", "*.safetensors", "*.bin")
"""What a program reads of an exported folder of any format. Other files may be added to it."""
_AGAIN = "export the run again"


@dataclass(frozen=True, kw_only=True)
class Export:
    """What export.json says."""

    format: str
    loader: str
    """Name of what opens the folder in Python."""
    files: dict[str, str]
    """SHA-256 by path in the folder, of all its files but this one and the card."""


def write_export(folder: Path, name: str, loader: str) -> None:
    """Write export.json into a folder that has all other files but its card. name: of the format."""
    write_json(folder / NAME, plain(Export(format=name, loader=loader, files=checksums(folder))))


def read_export(folder: Path) -> Export | None:
    """Return what a folder's export.json says, or None if the folder was not exported.

    Raise UserError if the file is damaged, or if the folder is of the first version, which wrote none.
    """
    path = folder / NAME
    if path.exists():
        export: Export = read_typed(path, Export, "export", _AGAIN)
        return export
    trained = any((folder / name).exists() for name in ("log.jsonl", "starts.json", "result.json"))
    if all((folder / name).is_file() for name in (CARD, "recipe.yaml", "text/text.json")) and not trained:
        raise UserError(f"{folder}: an exported model without {NAME}, which has the checksums; {_AGAIN}")
    return None


def whole(folder: str | Path, name: str) -> Path:
    """Return the folder if it was exported in the format `name` and all its files are as they were. Else UserError."""
    folder = Path(folder)
    export = read_export(folder)
    if export is None:
        raise UserError(f"{folder}: not an exported folder (no {NAME}); make one with `export RUN --format {name}`")
    if export.format != name:
        raise UserError(
            f"{folder}: exported in the format {export.format}, which {export.loader} opens ({CARD} there says how); "
            f"open it so, or export the run in the format {name}"
        )
    if changed := first_changed(folder, export.files):
        raise UserError(f"{changed}: damaged or missing, not as it was exported; {_AGAIN}")
    read = {path.relative_to(folder).as_posix() for pattern in _READ for path in folder.glob(pattern)} - {NAME}
    if unlisted := sorted(read - export.files.keys()):
        raise UserError(f"{folder / NAME}: does not list {unlisted[0]}, so it may be damaged; {_AGAIN}")
    return folder


def several(sentences: Iterable[str]) -> Iterable[str]:
    """Return the sentences. Raise UserError for a single string, whose letters would be taken for sentences."""
    if isinstance(sentences, str):
        raise UserError(f"translate([...]) takes a list of sentences; put {sentences[:40]!r} into brackets")
    return sentences


def check_run(folder: Path, cure: str) -> None:
    """Raise UserError, which ends in `cure`, for what cannot be a run folder: a file, or what `export` made."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: a file, not a run folder; {cure}")
    if export := read_export(folder):
        raise UserError(f"{folder}: an exported model (format {export.format}), without its training; {cure}")
