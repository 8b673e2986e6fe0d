"""Build executed notebooks: `python -m common.run.notebooks papers/*/notebook.py`.

The source of a notebook is a Python file in jupytext's percent format: a line `# %%` begins a cell of code, a line
`# %% [markdown]` a cell of prose, which is a raw string. The notebook with its outputs is written beside it.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from ipykernel.kernelspec import write_kernel_spec
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError

from common.errors import UserError
from common.files import write_whole
from common.run.cli import Parser, guarded, utf8_output

SECONDS = 600
"""The longest that a cell may take."""
PROGRESS = re.compile(r"[^\n]*: +\d+%\|[^\n]*\n?")
"""A line of progress (common/progress.py)."""


def read(source: Path) -> Any:
    """Return the notebook of a percent file, without outputs.

    Raises UserError if there is no such file.
    """
    if source.suffix != ".py" or not source.is_file():
        raise UserError(f"{source}: no such percent file; name a notebook.py")
    notebook = jupytext.read(source, fmt="py:percent")
    notebook.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    for number, cell in enumerate(notebook.cells, start=1):
        cell.id, cell.metadata = f"cell-{number}", {}  # jupytext draws ids at random and notes how the file is laid out
    return notebook


def execute(notebook: Any, folder: Path) -> None:
    """Run all cells in `folder` and put their outputs into the notebook.

    The kernel is this very Python, without the user's own settings. Raises CellExecutionError if a cell fails.
    """
    with tempfile.TemporaryDirectory() as own:
        write_kernel_spec(Path(own) / "python3")
        specs = KernelSpecManager(kernel_dirs=[own], ensure_native_kernel=False)
        client = NotebookClient(
            notebook,
            km=AsyncKernelManager(kernel_name="python3", kernel_spec_manager=specs),
            timeout=SECONDS,
            record_timing=False,
            coalesce_streams=True,
            resources={"metadata": {"path": str(folder)}},
        )
        client.execute(env={**os.environ, "IPYTHONDIR": own})
    drop_progress(notebook)


def drop_progress(notebook: Any) -> None:
    """Take lines of progress out of the outputs: a slow machine prints them, and a fast one does not."""
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if output.get("name") == "stderr":
                output.text = PROGRESS.sub("", output.text)
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr" or output.text]


def build(source: Path) -> Path:
    """Execute a percent file and write the notebook beside it. Return its path.

    Raises CellExecutionError if a cell fails, and UserError if one takes too long. The notebook from before stays then.
    """
    notebook, out = read(source), source.with_suffix(".ipynb")
    try:
        execute(notebook, source.parent)
    except CellTimeoutError:
        cure = "build it while the machine is quiet"
        raise UserError(f"{source}: a cell took more than {SECONDS} seconds; {cure}") from None
    write_whole(out, nbformat.writes(notebook) + "\n")
    return out


def main(arguments: list[str] | None = None) -> int:
    """Build the notebooks whose sources are named. Return the exit status as common.run.cli does."""
    utf8_output()
    parser = Parser(prog="python -m common.run.notebooks", description="Build executed notebooks from percent files.")
    parser.add_argument("source", nargs="+", type=Path, help="papers/PAPER/notebook.py")
    options = parser.parse_args(arguments)

    def run() -> None:
        for source in options.source:
            print(f"written to {build(source)}", file=sys.stderr)

    return guarded(run, parser.prog)


if __name__ == "__main__":
    sys.exit(main())
