"""Several accelerators, as virtual CPUs in processes of their own: their number is fixed when a backend starts."""

import json
import os
import subprocess
import sys

import pytest

from lenspipe.core.errors import ConfigError
from lenspipe.training.devices import over_devices

SCRIPT = """
import json, sys
backend, count = sys.argv[1], int(sys.argv[2])
if backend == "tensorflow":
    import tensorflow as tf
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import keras, numpy as np
from lenspipe.config import TrainSection
from lenspipe.networks.registry import build_network
from lenspipe.training.devices import over_devices
from lenspipe.training.loop import compile_model
from lenspipe.training.optimizers import averaged
rng = np.random.default_rng(0)
image, noise = rng.normal(size=(16, 32, 32, 3)).astype("f4"), np.ones((16, 3), "f4")
label = np.eye(2, dtype="f4")[np.arange(16) % 2]
with over_devices(count):
    model = build_network("detector", "inception_detector", 32, 3, dropout=0.0, seed=1, channels=("mask",))
    model.get_layer("sky_symmetry").trainable = False
    compile_model(model, "detector", TrainSection(learning_rate=1e-3, epochs=2, ema=0.5), 1)
    data = {"image": image, "noise_sigma": noise, "mask": (image > 2).astype("u1")}
    losses = model.fit(data, label, batch_size=16, epochs=2, shuffle=False, verbose=0).history["loss"]
    with averaged(model, [data]):
        held_out = model.evaluate(data, label, batch_size=16, verbose=0)[0]
    finite = all(np.isfinite(w).all() for w in model.get_weights())
    print(json.dumps({"losses": losses, "held_out": held_out, "finite": finite}))
"""


def train_over(backend, count):
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
    }
    answer = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, backend, str(count)],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr[-3000:]
    return json.loads(answer.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_two_devices_train_together(backend):
    pytest.importorskip(backend)
    one, two = train_over(backend, 1), train_over(backend, 2)
    assert two["finite"]
    # turned stamps and, on TensorFlow, batch statistics differ from device to device
    assert two["losses"][0] == pytest.approx(one["losses"][0], rel=0.2)
    assert two["held_out"] == pytest.approx(
        one["held_out"], rel=0.2
    )  # averaged weights, their own statistics


def test_more_devices_than_there_are_is_the_user_s_mistake():
    with pytest.raises(ConfigError, match=r"devices = 64, but there are"), over_devices(64):
        pass
