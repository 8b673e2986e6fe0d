"""Starts the command line many times at the cost of one import: `python -m tests.forking`.

Each line of standard input is a JSON list, ["papers.vaswani2017", "train", ...]. For each one a copy of this process
runs that program, and its process number is printed, then its exit status.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys

import torch


def main() -> None:
    """Start one program after the other."""
    torch.set_num_threads(1)
    for line in sys.stdin:
        module, *words = json.loads(line)
        paper, cli = importlib.import_module(f"{module}.paper").PAPER, importlib.import_module("common.run.cli")
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGINT, signal.default_int_handler)  # Python's own, as in a new process
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os._exit(cli.main(paper, words))
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
