"""Is this machine ready? Versions, devices, threads, memory, scratch space, scheduler."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib import metadata

from lenspipe.core.threads import available_cores
from lenspipe.core.version import code_version
from lenspipe.pipeline.provenance import package_versions


@dataclass(frozen=True)
class Finding:
    """One line of the examination; where it is not good the text says what to do."""

    subject: str
    good: bool
    text: str


def examine() -> list[Finding]:
    """Return what there is to know about this machine."""
    return [
        Finding("lenspipe", True, code_version()),
        Finding(
            "python",
            (3, 11) <= sys.version_info < (3, 14),
            f"{platform.python_version()}; needs 3.11 to 3.13",
        ),
        _packages(),
        _backend(),
        _devices(),
        _threads(),
        _memory(),
        _scratch(),
        _scheduler(),
    ]


#: What the stages import, also through the options of other packages.
_NEEDED = (
    *(
        "numpy",
        "scipy",
        "astropy",
        "photutils",
        "skimage",
        "keras",
        "h5py",
        "pyarrow",
        "distributed",
    ),
    *("sklearn", "matplotlib", "jinja2"),
)


def _packages() -> Finding:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        return Finding("packages", False, f"cannot import {', '.join(missing)}: install lenspipe again")
    return Finding(
        "packages", True, ", ".join(f"{name} {version}" for name, version in package_versions().items())
    )


def _backend() -> Finding:
    name = os.environ.get("KERAS_BACKEND", "tensorflow")
    packages = {"tensorflow": ("tensorflow", "tensorflow-cpu"), "jax": ("jax",), "torch": ("torch",)}.get(
        name, ()
    )
    for package in packages:
        try:
            return Finding("backend", True, f"keras on {package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    return Finding(
        "backend", False, f'{name} is not installed: pip install "lenspipe[cpu]" or "lenspipe[gpu]"'
    )


def _devices() -> Finding:
    if shutil.which("nvidia-smi") is None:
        return Finding("devices", True, "no NVIDIA GPU seen; training runs on the processor")
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return Finding("devices", False, "nvidia-smi does not answer: check the driver")
    names = "; ".join(answer.stdout.strip().splitlines())
    good = answer.returncode == 0 and bool(names)
    return Finding("devices", good, names or "nvidia-smi finds no GPU: check the driver")


def _threads() -> Finding:
    caps = {
        name: os.environ[name] for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS") if name in os.environ
    }
    cores = available_cores()
    text = f"{cores} cores for us of {os.cpu_count()}" + (f"; {caps}" if caps else "")
    return Finding(
        "threads", True, f"{text}; networks take run.threads and train.*.threads, whatever these say"
    )


def _memory() -> Finding:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return Finding("memory", total >= 6, f"{total:.0f} GiB; one worker with ResNet50 takes about 2.5")


def _scratch() -> Finding:
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free / 2**30
    return Finding(
        "scratch", free >= 5, f"{free:.0f} GiB free in {folder}; set TMPDIR where there is more than 5"
    )


def _scheduler() -> Finding:
    if shutil.which("sbatch"):
        return Finding("scheduler", True, "SLURM's sbatch is here")
    return Finding("scheduler", True, "no SLURM here; work runs on this machine or on a Dask scheduler")
