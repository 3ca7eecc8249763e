import keras
import numpy as np
import pytest

from lenspipe.training.feed import feed


class Counting(keras.utils.PyDataset):
    def __len__(self):
        return 5

    def __getitem__(self, index):
        count = 3 if index == 4 else 4
        return {"a": np.full((count, 2), index, np.float32)}, np.full((count, 1), 2.0 * index)


def test_every_batch_comes_once_and_in_order():
    fed = list(feed(Counting()))
    assert [len(x["a"]) for x, _ in fed] == [4, 4, 4, 4, 3]
    assert [float(y[0, 0]) for _, y in fed] == [0, 2, 4, 6, 8]


def test_keras_takes_it_to_fit_to_evaluate_and_to_predict():
    inputs = {"a": keras.Input((2,), name="a")}
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs["a"]))
    model.compile("sgd", "mse", jit_compile=False)
    history = model.fit(feed(Counting()), epochs=1, shuffle=False, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    assert np.isfinite(model.evaluate(feed(Counting()), verbose=0))
    assert model.predict(feed(Counting()), verbose=0).shape == (19, 1)


@pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="other backends have no tuner")
def test_nothing_tunes_itself_and_sleeps_at_the_end_of_an_epoch():
    assert feed(Counting()).options().autotune.enabled is False
