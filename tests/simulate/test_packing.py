"""Scenes as flat arrays: all light accounted for, passes of few shapes, nothing that the PSF hides drawn apart."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lenspipe.lensing.gaussians import sersic_gaussians
from lenspipe.simulate.foreground import CHUNK
from lenspipe.simulate.packing import choose_terms, pack, passes
from tests.simulate.scenes import PIXEL, light, nothing, scene

SIZE = 32


def mixed(count=6):
    """Return scenes with one to three components of several indices."""
    flux = np.array([[100.0, 30.0, 5.0], [100.0, 0.0, 0.0]] * (count // 2))
    n = np.array([4.0, 1.0, 0.5])
    return dataclasses.replace(light(flux), n=np.broadcast_to(n, flux.shape))


def total(arrays):
    """Return the flux (n,) that packed Gaussians add up to, seen in the first band."""
    flux = np.take_along_axis(arrays["light_flux"][..., 0], arrays["term_owner"], axis=1)
    seen = np.take_along_axis(arrays["blur_weight"][:, 0], arrays["term_blur"], axis=1)
    return np.sum(flux * seen * arrays["term_weight"], axis=1)


def test_gaussians_have_the_flux_of_their_components():
    foreground = mixed()
    arrays, forms = pack(scene(foreground, nothing(6)), SIZE, PIXEL)
    assert forms == ()
    assert total(arrays) == pytest.approx(foreground.flux.sum(axis=(1, 2)), rel=2e-3)
    integers = {"term_owner", "term_blur"}
    assert {values.dtype for name, values in arrays.items() if name not in integers} == {np.dtype("float32")}
    assert {arrays[name].dtype for name in integers} == {np.dtype("int32")}
    assert np.all(np.isfinite(arrays["term_sigma"]))


def test_passes_share_all_light_out_and_have_few_shapes():
    foreground = light(np.full((6, 7), 50.0), n=4.0, r_eff=3.0)
    arrays, _ = pack(scene(foreground, light(np.ones(6)), theta_e=1.0), SIZE, PIXEL)
    parts = list(passes(arrays))
    assert len(parts) >= 2
    assert sum(total(part) for part in parts) == pytest.approx(total(arrays), rel=1e-6)
    assert len({part["term_weight"].shape for part in parts}) == 1
    assert parts[0]["term_weight"].shape[1] % CHUNK == 0
    # the lensed light goes with the first pass, and with no other
    assert "source_flux" in parts[0]
    assert not any(name.startswith("source_") for part in parts[1:] for name in part)
    # another number of components is the same shape
    single, _ = pack(scene(light(np.full(6, 9.0), n=4.0), light(np.ones(6)), theta_e=1.0), SIZE, PIXEL)
    assert next(passes(single))["light_flux"].shape[1] in (16, 64)


def test_chosen_terms_are_filled_up_without_light():
    arrays, _ = pack(scene(mixed(), nothing(6)), SIZE, PIXEL)
    few = choose_terms(arrays, 1, 3)
    assert few["term_weight"].shape[1] % CHUNK == 0
    assert np.array_equal(few["term_weight"][:, :3], arrays["term_weight"][:, 1:4])
    assert np.all(few["term_weight"][:, 3:] == 0)


def test_what_the_psf_hides_is_one_gaussian():
    def terms(r_eff):
        arrays, _ = pack(scene(light(np.ones(1), n=4.0, r_eff=r_eff), nothing(1)), SIZE, PIXEL)
        return int(np.count_nonzero(arrays["term_weight"]))

    assert terms(1e-4) == 1
    assert 1 < terms(0.1) < terms(1.0) < terms(8.0) <= 20


@pytest.mark.parametrize("beta", [1.8, 2.7, 4.0])
def test_light_and_psf_are_paired_only_where_each_changes_the_other(beta):
    """Fewer pairs than Gaussians of the one times those of the other, of the same flux and second moments."""
    # so compact a disc that its edge does not matter, a giant, and a star
    flux, r_eff = np.array([[7.0, 90.0, 3.0]]), np.array([[0.4, 6.0, 0.0]])
    foreground = dataclasses.replace(light(flux), n=np.array([[1.0, 4.0, 0.5]]), r_eff=r_eff)
    arrays, _ = pack(scene(foreground, nothing(1), beta=beta), SIZE, PIXEL)
    whole = float(arrays["psf_weight"][0, 0].sum())  # broad wings end somewhere
    assert total(arrays) == pytest.approx(flux.sum() * whole, rel=1e-4)
    alone = np.count_nonzero(pack(scene(foreground, nothing(1), beta=np.inf), SIZE, PIXEL)[0]["term_weight"])
    assert alone < np.count_nonzero(arrays["term_weight"]) < 0.8 * alone * arrays["psf_weight"].shape[-1]
    owner, blur = arrays["term_owner"][0], arrays["term_blur"][0]
    share = arrays["term_weight"][0] * arrays["blur_weight"][0, 0, blur]
    fwhm = arrays["psf_fwhm"][0, 0]
    spread = (arrays["term_sigma"][0] * r_eff[0, owner]) ** 2 + (fwhm * arrays["blur_sigma"][0, 0, blur]) ** 2
    psf_sigma = fwhm * arrays["psf_sigma"][0, 0]
    psf = float(np.sum(arrays["psf_weight"][0, 0] * psf_sigma**2))
    for component, (n, radius) in enumerate(zip((1.0, 4.0, 0.5), r_eff[0], strict=True)):
        sigma, weight = sersic_gaussians(n)
        own = float(np.sum(weight * (sigma * radius) ** 2))
        assert np.sum((share * spread)[owner == component]) == pytest.approx(own * whole + psf, rel=1e-4)


def test_components_without_flux_cost_nothing():
    bright = light(np.array([[5.0]]), n=4.0)
    with_empty = light(np.array([[5.0, 0.0, 0.0]]), n=4.0)
    one, three = (pack(scene(part, nothing(1)), SIZE, PIXEL)[0] for part in (bright, with_empty))
    assert np.count_nonzero(one["term_weight"]) == np.count_nonzero(three["term_weight"])
    none, _ = pack(scene(nothing(2), nothing(2)), SIZE, PIXEL)
    assert not np.any(total(none))


@pytest.mark.parametrize(
    ("n", "form"), [((1.0, 1.0), "exponential"), ((0.5, 0.5), "gaussian"), ((1.0, 4.0), "sersic")]
)
def test_a_source_has_the_cheapest_form_that_fits_all(n, form):
    source = light(np.ones(2), n=np.array(n))
    _, forms = pack(scene(nothing(2), source, theta_e=1.0), SIZE, PIXEL)
    assert forms == (form,)


def test_a_gaussian_psf_is_one_term_and_a_moffat_several():
    terms = {}
    for beta in (np.inf, np.nan, 3.0):
        arrays, _ = pack(scene(light(np.ones(2)), nothing(2), beta=beta), SIZE, PIXEL)
        assert arrays["psf_weight"].sum(axis=-1) == pytest.approx(1.0, rel=1e-5)
        terms[str(beta)] = arrays["psf_weight"].shape[-1]
    assert terms["inf"] == terms["nan"] == 1
    assert terms["3.0"] > 3


@pytest.mark.parametrize("wrong", [0.0, -0.5, np.nan])
def test_what_has_no_shape_is_refused_by_name(wrong):
    flux = np.array([[1.0], [1.0]])
    flat = light(flux, q=[1.0, wrong])
    with pytest.raises(
        ValueError, match=rf"light: q must be above 0, received {wrong:g} for object 1, component 0"
    ):
        pack(scene(flat, nothing(2)), SIZE, PIXEL)
    with pytest.raises(ValueError, match="source: q must be above 0"):
        pack(scene(nothing(2), flat, theta_e=1.0), SIZE, PIXEL)
    with pytest.raises(ValueError, match=r"lens: q must be above 0, received .* for object 0$"):
        pack(scene(light(flux), light(flux), theta_e=1.0, q=wrong), SIZE, PIXEL)
    if wrong != 0.0:
        with pytest.raises(ValueError, match="light: r_eff must be 0 or more"):
            pack(scene(light(flux, r_eff=wrong), nothing(2)), SIZE, PIXEL)


def test_what_does_not_shine_may_have_any_shape():
    dark = light(np.array([[1.0], [0.0]]), q=[1.0, 0.0], r_eff=[1.0, np.nan])
    arrays, _ = pack(scene(dark, nothing(2)), SIZE, PIXEL)
    assert all(np.all(np.isfinite(values)) for values in arrays.values())
