"""What all tests share: quiet, capped backends, and the real survey images where they are there."""

from __future__ import annotations

import fcntl
import gc
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import pytest
import support
from hypothesis import settings

# one machine is ten times as busy as the next: properties are checked, not clocked
settings.register_profile("lenspipe", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("lenspipe")


@pytest.fixture(autouse=True, scope="module")
def forget_compiled():
    """Give back what a module's renderers hold: kept to the end, they were 10 GB in a process."""
    yield
    render = sys.modules.get("lenspipe.simulate.render")
    if render is not None:
        render._compiled.cache_clear()
        gc.collect()


@pytest.fixture(scope="session")
def realdata() -> Path:
    """Folder of real survey images (not part of the package); skips where it is absent."""
    folder = Path(os.environ.get("LENSPIPE_REALDATA", support.ROOT.parent / "shared" / "realdata"))
    if not folder.is_dir():
        pytest.skip(f"real survey images are not here ({folder}); set LENSPIPE_REALDATA to their folder")
    return folder


@pytest.fixture(scope="session")
def chain(tmp_path_factory, worker_id) -> Path:
    """Run directory of a finished small chain, made once and shared by all test workers: not to be changed."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "chain"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the first worker makes it, the others wait
        if not (folder / "made").exists():
            (folder / "recipe.toml").write_text(support.RECIPE)
            answer = support.lenspipe(
                "run", folder / "recipe.toml", "--out", folder / "run", "--workers", "2", timeout=560
            )
            assert answer.returncode == 0, answer.stderr
            (folder / "made").touch()
    return folder / "run"
