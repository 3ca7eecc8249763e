"""What is not a lens but may look like one: ellipticals, discs, spirals, mergers, groups, stars.

Each non-lens is built round a host taken from the same detectable population as the lenses, its
magnitudes scattered a little wider, so that neither brightness nor size gives the label away.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from astropy.table import Table

from lenspipe.core.rng import stream
from lenspipe.core.survey import Survey
from lenspipe.simulate.colours import k_correction
from lenspipe.simulate.field import star_colour
from lenspipe.simulate.population import draw_lenses

#: Class -> its share. Spirals, mergers and groups are what finders mistake for lenses.
CLASSES = {"elliptical": 0.25, "disc": 0.15, "spiral": 0.25, "merger": 0.12, "group": 0.15, "star": 0.08}
MAG_RANGE = (15.0, 22.5)  # in the detection band
#: Columns that only a lens has.
LENS_COLUMNS = (
    "z_src", "theta_e", "gamma_ext", "phi_ext", "x_src", "y_src", "r_src", "n_src", "q_src", "phi_src",
)  # fmt: skip


def draw_nonlenses(
    survey: Survey, seed: int, sample_ids: Sequence[int] | np.ndarray, bands: Sequence[str]
) -> Table:
    """Return one non-lens per sample id, in their order.

    Columns are those of `draw_lenses`; theta_e, the source's and the shear's are NaN, and sigma_v, q and
    phi too where there is no early type. `r_lens`, `n_lens`, `q_light`, `phi_light` and `mag_lens_<band>`
    describe the whole host galaxy (`scene` divides discs and spirals into bulge and disc).
    """
    ids = np.asarray(sample_ids, dtype=np.int64)
    table = draw_lenses(survey, seed, ids, bands, purpose="nonlens")
    u = np.array([stream(seed, "nonlens/class", k).random(8) for k in ids]).reshape(-1, 8)
    kinds = np.array(list(CLASSES))[np.searchsorted(np.cumsum(list(CLASSES.values())), u[:, 0] * (1 - 1e-12))]
    table["kind"] = kinds.astype("U12")
    for name in (*LENS_COLUMNS, *(f"mag_src_{band}" for band in bands)):
        table[name] = np.nan

    reference = survey.detection_band if survey.detection_band in bands else bands[-1]
    late, star = np.isin(kinds, ("disc", "spiral")), kinds == "star"
    z = np.asarray(table["z_lens"])
    old = np.asarray(table[f"mag_lens_{reference}"]).copy()
    new = np.clip(old + 0.8 * (u[:, 1] + u[:, 2] + u[:, 3] - 1.5) / 0.5, *MAG_RANGE)
    for band in bands:
        early_colour = np.asarray(table[f"mag_lens_{band}"]) - old
        late_colour = k_correction("spiral", band, z) - k_correction("spiral", reference, z)
        stellar = star_colour(band, u[:, 4]) - star_colour(reference, u[:, 4])
        table[f"mag_lens_{band}"] = new + np.select([star, late], [stellar, late_colour], early_colour)
    table["r_lens"][late] *= 1.0 + u[late, 5]  # discs are larger than spheroids of their brightness
    table["n_lens"][late] = 1.0
    table["q_light"][late] = 0.2 + 0.8 * u[late, 6]
    table["r_lens"][star], table["n_lens"][star], table["q_light"][star] = 0.0, 0.5, 1.0
    table["z_lens"][star] = np.nan
    for name in ("sigma_v", "q", "phi"):
        table[name][late | star] = np.nan
    return table
