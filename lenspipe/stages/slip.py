"""Stage *slip*: gamma from the candidates' Einstein radii and a spectroscopic table."""

from __future__ import annotations

from contextlib import suppress
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
    if config.slip.lenses:
        lenses = str(existing(config.slip.lenses, "slip.lenses"))
        return [Unit("slip", {"given": True}, (lenses,), settings_of(config, "slip"))]
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
    """Match candidates to spectra, or take the lenses given, and infer gamma."""
    from lenspipe.io.tables import read_table

    if unit.payload.get("given"):
        return write_slip(read_table(unit.inputs[0]), config.slip, config.run.seed, store)
    candidates = read_table(catalog.candidates_path(store))
    spectra = read_table(unit.inputs[1])
    lenses = match_spectra(candidates, spectra, config.slip.match_radius)
    return write_slip(lenses, config.slip, config.run.seed, store)


def match_spectra(candidates, spectra, radius: float):
    """Return the candidates with a spectroscopic counterpart: theta_e from images, the rest from spectra."""
    from astropy import units as u
    from astropy.coordinates import SkyCoord
    from astropy.table import Table

    from lenspipe.io.tables import require_columns
    from lenspipe.lensing.slip_table import ERRORS, KNOWN, REQUIRED, read_values

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
        name: read_values(theirs, name, unit)
        for name, unit in (REQUIRED | ERRORS | KNOWN).items()
        if name in theirs.colnames and not name.startswith("theta_e")
    }
    for name in ("survey", "sigma_v_aleatoric"):
        if name in theirs.colnames:
            columns[name] = np.asarray(theirs[name])
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
    table: str | Path,
    section: SlipSection,
    seed: int,
    out: str | Path,
    circular: bool = False,
    regressor: str = "",
) -> list[str]:
    """Infer gamma from a table of lenses, write the files to `out` and return what to tell the user.

    A table whose sigma_v came from lenspipe's own regressor is known by its columns: the result is marked
    circular, because that network was trained on simulations that assume general relativity. How little of gamma such
    a sigma_v holds stands on the regressor's card; `regressor` names it, else it is DES' packaged one.

    Raises
    ------
    InputError
        If the table cannot be read or fewer than three rows can be used.
    """
    from lenspipe.io.tables import read_table

    lenses = read_table(table)
    if Path(out).exists() and not Path(out).is_dir():
        raise InputError(f"--out must be a folder; {out} is a file")
    result, extra, _ = _infer_and_write(lenses, section, seed, Path(out), circular, regressor)
    lines = [_in_words(result.summary())]
    lines += [
        f"  {name}: {part['gamma']:.3f} +{part['gamma_err_hi']:.3f} -{part['gamma_err_lo']:.3f} ({part['n']} lenses)"
        for name, part in result.splits.items()
    ]
    told = f"of {section.drawn} lenses" if section.drawn else "bootstrap"
    lines.append(
        f"{section.realizations} realizations ({told}): {result.realization_gammas.mean():.3f} "
        f"+- {result.realization_gammas.std():.3f}"
    )
    if "population" in extra:
        told = ", ".join(
            f"{name} {value:.3f} +- {error:.3f}" for name, (value, error) in extra["population"].items()
        )
        lines.append(f"with the population's slope: {told}")
    for number, row in enumerate(result.lenses, start=1):
        if row["reason"]:
            name = row["name"] if "name" in row.colnames else f"row {number}"
            lines.append(f"left out: {name}: {row['reason']}")
    if "response" in extra:
        told = extra["response"]
        lines.append(
            f"note: of a slip put into {told['lenses']} simulated lenses, sigma_v of {told['regressor']} gives back "
            f"{told['response']:.2f} (1 = all of it)"
        )
    return [*lines, *(f"note: {warning}" for warning in result.warnings), f"wrote {Path(out) / 'slip.json'}"]


def describe_slip(store: Store) -> str:
    """Return in a sentence what a run's lenses say of gamma; empty if there is no ``slip.json``."""
    import json

    path = store.folder("slip") / "slip.json"
    if not path.exists():
        return ""
    told = json.loads(path.read_text())
    return f"no gamma: {told['warnings'][0]}" if told["gamma"] is None else _in_words(told)


def _in_words(told: dict) -> str:
    return (
        f"gamma = {told['gamma']:.3f} +{told['gamma_err_hi']:.3f} -{told['gamma_err_lo']:.3f} "
        f"({told['n_used']} of {told['n_lenses']} lenses, {told['model']}; jackknife +-{told['jackknife_err']:.3f}, "
        f"chi2 per lens {told['chi2_per_n']:.2f}{'; circular' if told['circular'] else ''})"
    )


def write_slip(lenses, section: SlipSection, seed: int, store: Store) -> Done:
    """Infer gamma and write ``slip.json``; with too few usable lenses it says so instead of a number."""
    folder = store.folder("slip")
    try:
        result, _, outputs = _infer_and_write(lenses, section, seed, folder)
    except InputError as error:
        return Done(_write_nothing(lenses, section, folder, error), {"lenses": len(lenses), "lenses_used": 0})
    return Done(outputs, {"lenses": result.n_lenses, "lenses_used": result.n_used})


def _write_nothing(lenses, section: SlipSection, folder: Path, error: InputError) -> tuple[Path, ...]:
    """Write why there is no gamma, and of each lens why it cannot be used."""
    from lenspipe.io.files import write_json
    from lenspipe.io.tables import write_table
    from lenspipe.lensing.slip import judge_lenses
    from lenspipe.lensing.slip_result import lens_table

    nothing = dict.fromkeys(("gamma", "gamma_err_lo", "gamma_err_hi", "chi2_per_n"))
    told = {"n_lenses": len(lenses), "n_used": 0, "realizations": section.realizations}
    told |= {"circular": _is_circular(lenses), "warnings": [str(error)]}
    tables = (f"{name}.ecsv" for name in ("lenses", "posterior", "realizations", "systematics"))
    for name in (*tables, "slip.svg", "population.svg"):
        (folder / name).unlink(missing_ok=True)  # of a sample before
    outputs = [folder / "slip.json"]
    with suppress(InputError):  # where columns are missing there are no reasons but the warning
        used, reasons = judge_lenses(lenses, model_of(section))
        told["n_used"] = int(used.sum())
        outputs.append(folder / "lenses.ecsv")
        write_table(lens_table(lenses, used, reasons), outputs[-1])
    write_json(outputs[0], {"model": section.model, **nothing, **told})
    return tuple(outputs)


def model_of(section: SlipSection):
    """Return the mass model that the settings describe."""
    from dataclasses import fields

    from lenspipe.lensing.slip_model import SlipModel

    names = {field.name for field in fields(SlipModel)} - {"name"}
    return SlipModel(section.model, **{name: getattr(section, name) for name in names})


def _infer_and_write(
    lenses, section: SlipSection, seed: int, folder: Path, circular: bool = False, regressor: str = ""
):
    """Return the result, what was found beside it, and the files written to `folder`."""
    from astropy.table import Table

    from lenspipe.io.files import write_json, write_text
    from lenspipe.io.tables import write_table
    from lenspipe.lensing.slip import infer_gamma
    from lenspipe.lensing.slip_population import fit_population, measure_sensitivity, vary_assumptions
    from lenspipe.report.figures import draw_svg
    from lenspipe.report.slip import draw_corner, draw_slip

    model, extra, population = model_of(section), {}, None
    circular = circular or _is_circular(lenses)
    result = infer_gamma(lenses, section.realizations, seed, circular, model, drawn=section.drawn)
    if circular:
        extra |= _response_of(regressor)
    systematics = vary_assumptions(lenses, model)
    if section.joint:
        population = fit_population(lenses, model, section.alpha_prior)
        extra["population"] = {
            name: (value, population.errors[name]) for name, value in population.medians.items()
        }
    extra["sensitivity"] = {
        name: _number(value) for name, value in measure_sensitivity(lenses, model).items()
    }
    moved = {name: _number(gamma) for name, gamma in systematics.iterrows("assumption", "gamma")}
    summary = {**result.summary(), "systematics": moved, **extra}
    tables = {
        "lenses": result.lenses,
        "posterior": Table({"gamma": result.gamma_grid, "density": result.posterior}),
        "realizations": Table({"gamma": result.realization_gammas}),
        "systematics": systematics,
    }
    outputs = [folder / "slip.json", *(folder / f"{name}.ecsv" for name in tables), folder / "slip.svg"]
    write_json(outputs[0], summary)
    for path, table in zip(outputs[1:-1], tables.values(), strict=True):
        write_table(table, path)
    shown = {
        **summary,
        "posterior": (result.gamma_grid, result.posterior),
        "gamma_realizations": result.realization_gammas,
    }
    write_text(outputs[-1], draw_svg(draw_slip, shown).decode())
    (folder / "population.svg").unlink(missing_ok=True)  # of settings before
    if population is not None:
        outputs.append(folder / "population.svg")
        write_text(outputs[-1], draw_svg(draw_corner, population.axes, population.posterior).decode())
    return result, extra, tuple(outputs)


def _is_circular(lenses) -> bool:
    """Tell by its columns whether sigma_v came from lenspipe's own regressor."""
    return "sigma_v_aleatoric" in lenses.colnames


def _response_of(regressor: str) -> dict[str, dict]:
    """Return ``response``: what a regressor's card tells of a closure test, if it does."""
    from lenspipe.io.cards import packaged_for, read_card

    name = regressor or next(iter(packaged_for("regressor", "des")), "none")
    told = read_card(name).get("slip_response") if name != "none" else None
    return {"response": {**told, "regressor": Path(name).name}} if told else {}


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


STAGE = Stage(
    name="slip", reads=("catalog", "tiles"), writes=("slip",), plan=plan, work=work, counts="lenses_used"
)
