"""How many cores are ours, and a process made ready for networks before they are imported."""

from __future__ import annotations

import logging
import os


def available_cores() -> int:
    """Return the cores that this process may use: its affinity, or its SLURM allocation if less."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    allocated = os.environ.get("SLURM_CPUS_PER_TASK", "")
    return min(cores, int(allocated)) if allocated.isdigit() else cores


def prepare_process(threads: int) -> None:
    """Cap the threads of a network and quieten its backend; has effect before the backend is imported.

    The cap is a setting, not the machine's core count, so that scores do not depend on where they
    were computed.
    """
    os.environ["TF_NUM_INTRAOP_THREADS"] = str(threads)
    os.environ["TF_NUM_INTEROP_THREADS"] = "1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # workers share a card
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
