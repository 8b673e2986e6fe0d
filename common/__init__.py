"""What any sequence-to-sequence paper shares: data, training loop, beam search, evaluation. Knows no paper."""

import os
import sys

if not hasattr(os, "fork"):  # preparation forks its processes, and the locks are flock's
    print(f"attention-reproductions: needs Linux or macOS, not {sys.platform}; on Windows use WSL", file=sys.stderr)
    raise SystemExit(2)
