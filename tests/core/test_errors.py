from __future__ import annotations

import pickle

from lenspipe.core.errors import Rejected


def test_a_rejection_survives_the_trip_from_a_worker():
    fault = pickle.loads(pickle.dumps(Rejected("missing_band:i", "needs i", "a.fits", "1:SCI")))
    assert (fault.reason, fault.detail, fault.path, fault.hdu) == (
        "missing_band:i",
        "needs i",
        "a.fits",
        "1:SCI",
    )
    assert str(fault) == "missing_band:i: needs i"
