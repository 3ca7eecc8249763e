import numpy as np

from lenspipe.training.batches import Batches, steps_per_epoch
from lenspipe.training.datasets import load_stamps


def test_training_batches_leave_out_the_partial_one(data):
    stamps = load_stamps(data)
    batches = Batches(stamps, np.arange(64), np.arange(50), 16, drop_partial=True)
    assert len(batches) == 3 == steps_per_epoch(50, 16)
    assert all(len(batches[k][1]) == 16 for k in range(3))


def test_validation_batches_keep_order_and_every_row(data):
    stamps = load_stamps(data)
    batches = Batches(stamps, np.arange(64), np.arange(7, 50), 16)
    np.testing.assert_array_equal(
        np.concatenate([batches[k][1] for k in range(len(batches))]), np.arange(7, 50)
    )
    np.testing.assert_array_equal(batches[0][0]["image"], stamps.image[7:23])


def test_batches_bring_the_masks_where_they_were_read(masked_data):
    stamps = load_stamps(masked_data, masks=True)
    inputs, rows = Batches(stamps, np.arange(160), np.arange(7, 50), 16)[1]
    np.testing.assert_array_equal(inputs["mask"], stamps.mask[rows])
    assert inputs["mask"].any()
