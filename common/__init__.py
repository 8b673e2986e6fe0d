"""What all sequence-to-sequence papers share: data, training loop, beam search, evaluation. It knows no paper."""

import os
import sys

if not hasattr(os, "fork"):  # preparation forks its processes, and files are locked by flock
    print(f"attention-reproductions: needs Linux or macOS, not {sys.platform}; on Windows use WSL", file=sys.stderr)
    raise SystemExit(2)
