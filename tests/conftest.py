"""What all tests share: quiet, capped backends, and the real survey images where they are there."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import pytest
from hypothesis import settings

# one machine is ten times as busy as the next: properties are checked, not clocked
settings.register_profile("lenspipe", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("lenspipe")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def realdata() -> Path:
    """Folder of real survey images (not part of the package); skips where it is absent."""
    folder = Path(os.environ.get("LENSPIPE_REALDATA", ROOT.parent / "shared" / "realdata"))
    if not folder.is_dir():
        pytest.skip(f"real survey images are not here ({folder}); set LENSPIPE_REALDATA to their folder")
    return folder


@pytest.fixture(scope="session")
def chain(tmp_path_factory) -> Path:
    """Run directory of a finished small chain; tests that use it share one worker (group "chain")."""
    from chain import RECIPE, lenspipe

    folder = tmp_path_factory.mktemp("chain")
    (folder / "recipe.toml").write_text(RECIPE)
    answer = lenspipe("run", folder / "recipe.toml", "--out", folder / "run")
    assert answer.returncode == 0, answer.stderr
    return folder / "run"
