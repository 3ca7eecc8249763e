"""The command line, as a user runs it."""

from __future__ import annotations

import subprocess
import sys


def lenspipe(*words: str) -> str:
    """Run a command of lenspipe and return what it prints."""
    command = [sys.executable, "-c", "from lenspipe.cli import main; main()", *words]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        sys.exit(f"lenspipe {' '.join(words)}\n{answer.stdout}{answer.stderr}")
    return answer.stdout
