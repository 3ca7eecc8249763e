"""`lenspipe slip --closure`: does a slip that was put into simulated lenses come out again?

With spectroscopic dispersions it must. A dispersion that a network infers from the image, having learnt on simulations
that assume general relativity, follows the Einstein radius: then gamma = 1 comes out whatever went in, and the response
d gamma_out / d gamma_in says how far that goes.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from lenspipe.config import PLAIN, SimulateSection, SlipSection
from lenspipe.core.errors import InputError
from lenspipe.core.rng import stream
from lenspipe.core.survey import load_survey

GAMMAS = (0.8, 0.9, 1.0, 1.1, 1.2)
#: Error of a spectroscopic dispersion, a fraction of it (the lectures' sample: 8 to 10 %).
SIGMA_ERROR = 0.09
#: How gamma is measured -> words.
WAYS = {"spectra": "spectroscopic sigma_v", "images": "sigma_v from images"}


def measure_closure(
    section: SlipSection, out: str | Path, count: int, seed: int, regressor: str = "", survey: str = "des"
) -> list[str]:
    """Write ``closure.ecsv`` and ``closure.svg`` to `out`; return what to tell the user.

    Parameters
    ----------
    section : SlipSection
    out : path
    count : int
        Simulated lenses, the same for each gamma.
    seed : int
    regressor : str
        Bundle that tells sigma_v and theta_e from images; empty = the survey's packaged one, ``none`` = spectroscopic
        dispersions only.
    survey : str
        Of the lenses; the regressor's must have the same stamps.
    """
    from astropy.table import Table

    from lenspipe.io.cards import packaged_for
    from lenspipe.io.files import write_text
    from lenspipe.io.tables import write_table
    from lenspipe.report.figures import draw_svg
    from lenspipe.report.slip import draw_closure

    if not regressor:
        regressor = next(iter(packaged_for("regressor", survey)), "none")
    regressor = "" if regressor == "none" else regressor
    truth = _draw(survey, count, seed, regressor)
    rows = []
    for gamma in GAMMAS:
        lensed = truth.copy()
        lensed["theta_e"] *= (1 + gamma) / 2
        samples = {"spectra": _spectra(lensed, seed)}
        if regressor:
            samples["images"] = _images(lensed, survey, seed, regressor)
        for way, lenses in samples.items():
            rows.append({"way": way, "gamma_in": gamma, **_infer(lenses, section, seed)})
    table = Table(rows)
    responses = {}
    for way in dict.fromkeys(table["way"]):
        part = table[table["way"] == way]
        # the five samples are the same lenses with the same noise: most of their errors is not in the slope
        responses[str(way)] = float(np.polyfit(part["gamma_in"], part["gamma"], 1)[0])
    table.meta = {"response": responses, "lenses": count, "seed": seed, "regressor": regressor}
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    write_table(table, folder / "closure.ecsv")
    write_text(folder / "closure.svg", draw_svg(draw_closure, table, responses).decode())
    lines = [f"{count} simulated lenses, slip put in and found again:"]
    for row in table:
        lines.append(
            f"  {WAYS[row['way']]}: {row['gamma_in']:.1f} -> {row['gamma']:.3f} "
            f"+{row['gamma_err_hi']:.3f} -{row['gamma_err_lo']:.3f}"
        )
    lines += [
        f"response d gamma_out / d gamma_in, {WAYS[way]}: {value:.3f}" for way, value in responses.items()
    ]
    return lines


def read_response(folder: Path) -> dict[str, float]:
    """Return what a model's card tells of a closure test with images: its response, of how many lenses.

    Raises
    ------
    InputError
        If the folder holds none.
    """
    from lenspipe.io.tables import read_table

    path = Path(folder) / "closure.ecsv"
    meta = read_table(path).meta if path.exists() else {}
    if "images" not in meta.get("response", {}):
        raise InputError(f"{folder} holds no `lenspipe slip --closure --regressor MODEL`")
    return {
        "response": float(meta["response"]["images"]),
        "lenses": int(meta["lenses"]),
        "seed": int(meta["seed"]),
    }


def _draw(survey: str, count: int, seed: int, regressor: str):
    """Return lenses of the survey: full scenes where images are asked for."""
    from lenspipe.simulate.scene import draw_truth

    described = load_survey(survey)
    realism = {} if regressor else {"realism": PLAIN}
    section = SimulateSection(kind="lens", **realism)
    return draw_truth(described, seed, np.arange(count), section, _bands(survey, regressor))


def _spectra(truth, seed: int):
    """Return what spectra and a model of the arcs tell of the lenses."""
    from astropy.table import Table

    noise = stream(seed, "closure").normal(size=len(truth))
    sigma = np.asarray(truth["sigma_v"], float)
    columns = {name: np.asarray(truth[name], float) for name in ("z_lens", "z_src", "theta_e")}
    return Table(columns | {"sigma_v": sigma * (1 + SIGMA_ERROR * noise), "sigma_v_err": SIGMA_ERROR * sigma})


def _images(truth, survey: str, seed: int, regressor: str):
    """Return what a regressor tells of the lenses' images; the redshifts are spectroscopic."""
    from astropy.table import Table

    from lenspipe.simulate.parts import stack_columns
    from lenspipe.simulate.scene import redraw
    from lenspipe.training.posterior import sample_posteriors

    bundle = _load(regressor)
    bands, size = list(bundle.bands), bundle.card["stamp_size"]
    image = redraw(load_survey(survey), seed, truth, SimulateSection(kind="lens"), bands, size)
    noise = stack_columns(truth, "sky_sigma", bands).astype(np.float32)
    found = sample_posteriors(bundle, image, noise, mc_samples=50, seed=seed)
    columns = {name: np.asarray(truth[name], float) for name in ("z_lens", "z_src")}
    for name in ("theta_e", "sigma_v"):
        columns[name] = found[name].median
        columns[f"{name}_err"] = 0.5 * (found[name].err_lo + found[name].err_hi)
    return Table(columns)


@lru_cache(maxsize=1)
def _load(regressor: str):
    from lenspipe.training.bundle import load_bundle

    return load_bundle(regressor)


def _infer(lenses, section: SlipSection, seed: int) -> dict[str, float]:
    from lenspipe.lensing.slip import infer_gamma
    from lenspipe.lensing.slip_model import SlipModel

    # simulated lenses are isothermal, their dispersions those of no aperture
    result = infer_gamma(lenses, section.realizations, seed, model=SlipModel(omega_m=section.omega_m))
    return {name: getattr(result, name) for name in ("gamma", "gamma_err_lo", "gamma_err_hi")}


def _bands(survey: str, regressor: str) -> list[str]:
    from lenspipe.io.cards import read_card

    return list(read_card(regressor)["bands"]) if regressor else list(load_survey(survey).model_bands)
