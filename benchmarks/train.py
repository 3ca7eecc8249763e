"""How fast does the detector train and score? Against bare Keras and plain PyTorch.

    python -m benchmarks.train [--architecture resnet50] [--size 64] [--batch 64] [--steps 12]
                                 [--torch PYTHON]

The same network, stamps in memory, same precision, all cores. Training: our epochs (shuffled batches, augmentation,
schedule) against a bare `model.fit` on arrays, and against a plain PyTorch ResNet50 with and without automatic mixed
precision, channels last (where `--torch PYTHON`, this one unless told, has torch; it is no dependency). Scoring: from
a stored shard to scores against a bare `predict`, and T = 100 dropout passes against one. Rates are medians of three
turns taken in alternation, because machines are noisy.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from astropy.table import Table
from rich.console import Console
from rich.table import Table as Printed

from lenspipe.config import TrainSection
from lenspipe.io.shards import Shard, read_shard, write_shard
from lenspipe.networks.registry import build_network
from lenspipe.training.batchnorm import fuse_batch_norms
from lenspipe.training.datasets import StampSet
from lenspipe.training.load import split_network
from lenspipe.training.loop import Fold, compile_model, train
from lenspipe.training.precision import choose_precision, dtype_policy
from lenspipe.training.scores import score_with

BANDS, TURNS = ("g", "r", "i"), 3
Turn = Callable[[], float]


def make_stamps(count: int, size: int) -> StampSet:
    """Return noise with labels: what the pixels show does not matter here."""
    image = np.random.default_rng(1).normal(0, 10, (count, size, size, 3)).astype(np.float32)
    noise = np.full((count, 3), 10, np.float32)
    truth = Table({"kind": np.where(np.arange(count) % 2 == 0, "lens", "spiral")})
    return StampSet(image, noise, truth, BANDS, 0.263, "des", "noise", "")


def our_training(model: keras.Model, stamps: StampSet, settings: TrainSection, folder: Path) -> Turn:
    """Return a function that trains for two epochs, the first of which compiles, and tells the second's stamps/s."""
    truth, rows = np.eye(2, dtype=np.float32)[stamps.labels()], np.arange(len(stamps))

    def turn() -> float:
        rates: list[float] = []
        fold = Fold("fold-0", "detector", 0, 1, str(time.time()), folder, stamps, truth, rows, rows[:2])
        train(model, fold, settings, lambda row: rates.append(row["images_per_s"]))
        return rates[-1]

    return turn


def bare_training(model: keras.Model, stamps: StampSet, settings: TrainSection) -> Turn:
    """Return the same with `model.fit` on arrays."""
    truth = np.eye(2, dtype=np.float32)[stamps.labels()]
    inputs = {"image": stamps.image, "noise_sigma": stamps.noise_sigma}

    compile_model(model, "detector", settings, len(stamps) // settings.batch_size)

    def turn() -> float:
        start = time.perf_counter()
        model.fit(inputs, truth, batch_size=settings.batch_size, epochs=1, verbose=0)
        return len(stamps) / (time.perf_counter() - start)

    return turn


@contextmanager
def torch_training(python: str, size: int, batch: int, steps: int, amp: bool) -> Iterator[Turn | None]:
    """Yield the same with PyTorch's usual loop; None where `python` has no torch.

    In a process of its own: TensorFlow and PyTorch each bring a oneDNN, and crash in one another's.
    """
    peer = subprocess.Popen(
        [python, "-m", "benchmarks.torch_resnet50", *map(str, (size, batch, steps, int(amp)))],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert peer.stdin is not None
    assert peer.stdout is not None
    with peer, peer.stdin as orders, peer.stdout as answers:

        def turn() -> float:
            orders.write("go\n")
            orders.flush()
            return float(answers.readline())

        yield turn if answers.readline() == "ready\n" else None


def scoring(network, stamps: StampSet, folder: Path, passes: int, batch: int) -> Turn:
    """Return a function that tells stamps per second from a stored shard to scores."""
    path = folder / "shard.h5"
    write_shard(path, Shard(stamps.image, stamps.noise_sigma, BANDS, 0.263, "des", 1))

    def turn() -> float:
        start = time.perf_counter()
        shard = read_shard(path)
        score_with([network], shard.image, shard.noise_sigma, passes, 1, batch)
        return len(stamps) / (time.perf_counter() - start)

    return turn


def bare_predict(model: keras.Model, stamps: StampSet, batch: int) -> Turn:
    """Return the same with Keras' `predict` on arrays."""
    inputs = {"image": stamps.image, "noise_sigma": stamps.noise_sigma}

    def turn() -> float:
        start = time.perf_counter()
        model.predict(inputs, batch_size=batch, verbose=0)
        return len(stamps) / (time.perf_counter() - start)

    return turn


def measure(turns: dict[str, Turn]) -> dict[str, float]:
    """Return the median rate of each, the first turn, which compiles, left out."""
    rates: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(TURNS + 1):
        for name, turn in turns.items():
            rates[name].append(turn())
    return {name: float(np.median(values[1:])) for name, values in rates.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--architecture", default="resnet50")
    parser.add_argument("--torch", default=sys.executable, help="a Python that has torch")
    for name, usual in (("--size", 64), ("--batch", 64), ("--steps", 12)):
        parser.add_argument(name, type=int, default=usual)
    options = parser.parse_args()
    name, size, batch = options.architecture, options.size, options.batch
    precision = choose_precision("auto")
    stamps = make_stamps(options.steps * batch, size)
    settings = TrainSection(batch_size=batch, epochs=2, architecture=name)
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        folder = Path(scratch)
        with dtype_policy(precision):
            ours = fuse_batch_norms(build_network("detector", name, size, 3, seed=1))
            bare = build_network("detector", name, size, 3, seed=1)
        plain = build_network("detector", name, size, 3, seed=1)
        plain.compile(jit_compile=False)
        network = split_network(plain, "plain")
        peers = {
            label: stack.enter_context(torch_training(options.torch, size, batch, options.steps, amp))
            for label, amp in (
                ("training, PyTorch, float32", False),
                ("training, PyTorch, AMP bfloat16", True),
            )
            if name == "resnet50"
        }
        turns: dict[str, Turn] = {
            f"training, lenspipe, {precision}": our_training(ours, stamps, settings, folder),
            f"training, bare model.fit, {precision}": bare_training(bare, stamps, settings),
            **{label: turn for label, turn in peers.items() if turn is not None},
            "scoring, lenspipe, shard to scores": scoring(network, stamps, folder, 1, batch),
            "scoring, lenspipe, 100 passes": scoring(network, stamps, folder, 100, batch),
            "scoring, bare predict": bare_predict(plain, stamps, batch),
        }
        rates = measure(turns)
    table = Printed(title=f"{name}, {size} px, batches of {batch}")
    for column in ("what", "stamps/s", "lenspipe's over it"):
        table.add_column(column)
    for label, rate in rates.items():
        mine = next(value for other, value in rates.items() if other.split(",")[0] == label.split(",")[0])
        table.add_row(label, f"{rate:.0f}", f"{mine / rate:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
