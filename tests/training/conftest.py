from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table

from lenspipe.io.shards import Shard, list_shards, read_shard, shard_name, write_shard
from lenspipe.io.tables import read_table, write_table
from lenspipe.training.bundle import Bundle
from lenspipe.training.ensemble import write_bundle
from lenspipe.training.worker import run_fold

BANDS = ("g", "r", "i")


def make_set(folder: Path, n: int = 64, size: int = 32, per_shard: int = 20) -> Path:
    """Write a toy set: red discs, half of them with a blue ring; two samples a group."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    index = np.arange(n)
    lens = rng.permutation(index % 2 == 0)
    theta_e = rng.uniform(0.8, 2.2, n)
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    r = np.hypot(x, y) * 0.263
    disc = 400 * np.exp(-((r / 0.7) ** 2))[None, :, :, None] * [0.3, 0.7, 1.0]
    ring = np.exp(-((r[None] - theta_e[:, None, None]) ** 2) / 0.05)[..., None] * [1.0, 0.6, 0.3]
    image = disc + 200 * lens[:, None, None, None] * ring + rng.normal(0, 10, (n, size, size, 3))
    for k, start in enumerate(range(0, n, per_shard)):
        part = image[start : start + per_shard].astype(np.float32)
        noise = np.full((len(part), 3), 10, np.float32)
        write_shard(folder / shard_name(k), Shard(part, noise, BANDS, 0.263, "des", 0))
    values = {
        "theta_e": theta_e,
        "sigma_v": 220 * np.sqrt(theta_e),
        "z_lens": 0.3 * theta_e,
        "z_src": 1 + theta_e,
    }
    truth = Table(
        {
            "sample_id": index,
            "kind": np.where(lens, "lens", np.where(index % 3 == 0, "disc", "spiral")),
            "shard": index // per_shard,
            "row": index % per_shard,
            "group": index // 2,
            **{name: np.where(lens, value, np.nan) for name, value in values.items()},
        }
    )
    write_table(truth, folder / "truth.parquet")
    return folder


def mask_set(folder: Path) -> Path:
    """Make a toy set one of noise alone, in which a lens is told by a patch of unusable pixels that others lack."""
    rng = np.random.default_rng(7)
    truth = read_table(folder / "truth.parquet")
    for k, path in enumerate(list_shards(folder)):
        shard = read_shard(path)
        mask = np.zeros(shard.image.shape, np.uint8)
        for row in np.flatnonzero(np.asarray(truth["kind"][truth["shard"] == k], str) == "lens"):
            y, x = rng.integers(4, 20, 2)
            mask[row, y : y + 8, x : x + 8, rng.integers(3)] = rng.integers(1, 3)
        image = rng.normal(0, 10, shard.image.shape).astype(np.float32)
        write_shard(path, replace(shard, image=image, mask=mask))
    return folder


def make_job(task: str, data: Path, folder: Path, fold: int = 0, **settings) -> dict:
    """Return a job of a small network on one thread."""
    architecture = {"detector": "inception_detector", "regressor": "inception"}[task]
    return {
        "task": task,
        "data": str(data),
        "folder": str(folder),
        "fold": fold,
        "seed": 3,
        "mc_samples": 8,
        "settings": {
            "folds": 2,
            "epochs": 3,
            "batch_size": 16,
            "threads": 1,
            "architecture": architecture,
            **settings,
        },
    }


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    return make_set(tmp_path_factory.mktemp("set") / "data")


@pytest.fixture(scope="session")
def detector(data, tmp_path_factory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle") / "detector"
    with ThreadPoolExecutor(2) as pool:  # folds are processes of one thread each
        list(pool.map(lambda fold: run_fold(make_job("detector", data, folder, fold)), (0, 1)))
    return write_bundle(folder, lens_prior=1e-3, description="toy")


@pytest.fixture(scope="session")
def regressor(data, tmp_path_factory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle") / "regressor"
    jobs = [
        make_job("regressor", data, folder, fold, epochs=1, targets=("theta_e", "z_src")) for fold in (0, 1)
    ]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run_fold, jobs))
    return write_bundle(folder, lens_prior=1e-3)


@pytest.fixture(scope="session")
def masked_data(tmp_path_factory) -> Path:
    return mask_set(make_set(tmp_path_factory.mktemp("set") / "masked", n=160))


@pytest.fixture(scope="session")
def mask_detector(masked_data, tmp_path_factory) -> Bundle:
    """A detector that sees masks, of data that show nothing else."""
    folder = tmp_path_factory.mktemp("bundle") / "masked"
    how = {"architecture": "swift", "channels": ("noise", "mask"), "epochs": 8, "learning_rate": 3e-3}
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda fold: run_fold(make_job("detector", masked_data, folder, fold, **how)), (0, 1)))
    return write_bundle(folder, lens_prior=1e-3)


@pytest.fixture(scope="session")
def new_set():
    """Return the function that writes a toy set."""
    return make_set


@pytest.fixture(scope="session")
def new_job():
    """Return the function that makes a job."""
    return make_job
