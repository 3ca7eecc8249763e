"""Stage *slip*: gamma from the candidates' Einstein radii and a spectroscopic table."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lenspipe.config import Config, SlipSection, settings_of
from lenspipe.core.errors import InputError
from lenspipe.core.types import Done, Stage, Unit
from lenspipe.io.store import Store
from lenspipe.stages import catalog
from lenspipe.stages.simulate import spectroscopy_path
from lenspipe.stages.stamps import existing, regressor_folder


def plan(config: Config, store: Store) -> list[Unit]:
    """One unit, if there are Einstein radii and spectroscopic velocity dispersions to go with them."""
    table = spectroscopy_table(config, store)
    if table is None or regressor_folder(config, store) is None or not catalog.plan(config, store):
        return []
    inputs = (str(catalog.candidates_path(store)), str(table))
    return [Unit("slip", inputs=inputs, settings=settings_of(config, "slip"))]


def spectroscopy_table(config: Config, store: Store) -> Path | None:
    """Return the spectroscopic table: the one given, else that of the mock tiles."""
    if config.slip.spectroscopy:
        return Path(existing(config.slip.spectroscopy, "slip.spectroscopy"))
    return spectroscopy_path(store) if config.simulate.tiles.count and not config.ingest.images else None


def work(unit: Unit, config: Config, store: Store) -> Done:
    """Match candidates to spectra and infer gamma."""
    from lenspipe.io.tables import read_table

    candidates = read_table(catalog.candidates_path(store))
    spectra = read_table(unit.inputs[1])
    lenses = match_spectra(candidates, spectra, config.slip.match_radius)
    return write_slip(lenses, config.slip.realizations, config.run.seed, store)


def match_spectra(candidates, spectra, radius: float):
    """Return the candidates with a spectroscopic counterpart: theta_e from images, the rest from spectra."""
    from astropy import units as u
    from astropy.coordinates import SkyCoord
    from astropy.table import Table

    from lenspipe.io.tables import require_columns

    require_columns(spectra, ("ra", "dec", "z_lens", "z_src", "sigma_v", "sigma_v_err"), "slip.spectroscopy")
    placed = candidates[np.isfinite(candidates["ra"]) & np.isfinite(candidates["theta_e"])]
    spectra = spectra[np.isfinite(spectra["ra"]) & np.isfinite(spectra["dec"])]
    if not len(placed) or not len(spectra):
        names = ("name", "theta_e", "theta_e_err", "z_lens", "z_src", "sigma_v", "sigma_v_err")
        return Table(names=names, dtype=["U1", *["f8"] * 6])
    sky = SkyCoord(spectra["ra"], spectra["dec"], unit="deg")
    index, distance, _ = sky.match_to_catalog_sky(SkyCoord(placed["ra"], placed["dec"], unit="deg"))
    # one spectrum, one lens: pieces of a deblended lens must not count it twice, nor two spectra one piece
    nearest = np.argsort(distance)
    _, first = np.unique(index[nearest], return_index=True)
    pairs = nearest[first][distance[nearest[first]] < radius * u.arcsec]
    mine, theirs = placed[index[pairs]], spectra[pairs]
    columns = {
        name: np.asarray(theirs[name], float) for name in ("z_lens", "z_src", "sigma_v", "sigma_v_err")
    }
    theta_e_err = 0.5 * (
        np.asarray(mine["theta_e_err_lo"], float) + np.asarray(mine["theta_e_err_hi"], float)
    )
    return Table(
        {
            "name": np.asarray(mine["name"], str),
            "theta_e": np.asarray(mine["theta_e"], float),
            "theta_e_err": theta_e_err,
            **columns,
        }
    )


def slip_of_table(
    table: str | Path, section: SlipSection, seed: int, out: str | Path, circular: bool = False
) -> list[str]:
    """Infer gamma from a table of lenses, write the files to `out` and return what to tell the user.

    A table whose sigma_v came from lenspipe's own regressor is known by its columns: the result is marked
    circular, because that network was trained on simulations that assume general relativity.

    Raises
    ------
    InputError
        If the table cannot be read or no row can be used.
    """
    from lenspipe.io.tables import read_table
    from lenspipe.lensing.slip import infer_gamma

    lenses = read_table(table)
    circular = circular or "sigma_v_aleatoric" in lenses.colnames
    result = infer_gamma(lenses, realizations=section.realizations, seed=seed, circular=circular)
    if Path(out).exists() and not Path(out).is_dir():
        raise InputError(f"--out must be a folder; {out} is a file")
    _write_result(result, Path(out))
    lines = [
        f"gamma = {result.gamma:.3f} +{result.gamma_err_hi:.3f} -{result.gamma_err_lo:.3f} "
        f"({result.n_used} of {result.n_lenses} lenses, {result.model.upper()})"
    ]
    for number, row in enumerate(result.lenses, start=1):
        if row["reason"]:
            name = row["name"] if "name" in row.colnames else f"row {number}"
            lines.append(f"left out: {name}: {row['reason']}")
    return lines + [f"note: {warning}" for warning in result.warnings]


def write_slip(lenses, realizations: int, seed: int, store: Store) -> Done:
    """Infer gamma and write ``slip.json``; without a usable lens it says so instead of a number."""
    from lenspipe.io.files import write_json
    from lenspipe.lensing.slip import infer_gamma

    try:
        result = infer_gamma(lenses, realizations=realizations, seed=seed)
    except InputError as error:
        path = store.path("slip", "slip.json")
        nothing = dict.fromkeys(("gamma", "gamma_err_lo", "gamma_err_hi", "chi2_per_n"))
        write_json(
            path,
            {
                "model": "sis",
                **nothing,
                "n_lenses": len(lenses),
                "n_used": 0,
                "realizations": realizations,
                "circular": False,
                "warnings": [str(error)],
            },
        )
        return Done((path,), {"lenses": len(lenses), "lenses_used": 0})
    outputs = _write_result(result, store.folder("slip"))
    return Done(outputs, {"lenses": result.n_lenses, "lenses_used": result.n_used})


def _write_result(result, folder: Path) -> tuple[Path, ...]:
    """Write ``slip.json``, the per-lens table, the posterior with its realizations, and their figure."""
    from astropy.table import Table

    from lenspipe.io.files import write_json, write_text
    from lenspipe.io.tables import write_table
    from lenspipe.report.figures import draw_slip, draw_svg

    names = ("slip.json", "lenses.ecsv", "posterior.ecsv", "realizations.ecsv", "slip.svg")
    outputs = tuple(folder / name for name in names)
    write_json(outputs[0], result.summary())
    write_table(result.lenses, outputs[1])
    write_table(Table({"gamma": result.gamma_grid, "density": result.posterior}), outputs[2])
    write_table(Table({"gamma": result.realization_gammas}), outputs[3])
    shown = {
        **result.summary(),
        "posterior": (result.gamma_grid, result.posterior),
        "gamma_realizations": result.realization_gammas,
    }
    write_text(outputs[4], draw_svg(draw_slip, shown).decode())
    return outputs


STAGE = Stage(
    name="slip", reads=("catalog", "tiles"), writes=("slip",), plan=plan, work=work, counts="lenses_used"
)
