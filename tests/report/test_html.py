import base64
import dataclasses
import hashlib
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from astropy.table import Table

from lenspipe.core.schema import Flag, catalog_columns
from lenspipe.io.tables import empty_catalog, order_columns
from lenspipe.report import views
from lenspipe.report.data import ReportData
from lenspipe.report.figures import Picture
from lenspipe.report.html import render_report, write_report
from lenspipe.report.views import number, probability

RNG = np.random.default_rng(2)


@pytest.fixture(autouse=True)
def _quick_figures(monkeypatch):
    """Figures have tests of their own; here one grey pixel stands for each."""
    monkeypatch.setattr(
        views, "picture", lambda draw, *data, alt, caption: Picture(PIXEL, PIXEL, alt, caption)
    )


PIXEL = "data:image/svg+xml;base64,PHN2Zy8+"
HOSTILE = "\"><script>alert(1)</script><img src=x onerror=alert(2)>'\x00\ud800"
COLUMNS = catalog_columns("gri", 2, ["theta_e", "sigma_v", "z_lens", "z_src"])


def candidates(n=3, text=""):
    table = order_columns(
        Table(
            {
                "name": [f"LP J{i:06d}.00-000000.0" for i in range(n)],
                "object_id": [f"{i}" for i in range(n)],
                "ra": np.linspace(10, 20, n),
                "dec": np.linspace(-5, -4, n),
                "score": np.linspace(0.99, 0.7, n),
                "theta_e": np.linspace(1.0, 2.0, n),
                "theta_e_err_lo": np.full(n, 0.04),
                "theta_e_err_hi": np.full(n, 0.06),
                "flags": np.full(n, Flag.PADDED | Flag.MASKED),
            }
        ),
        COLUMNS,
    )
    for name in ("tile", "known_name"):
        table[name] = np.full(n, text or f"a {name}", dtype="U200")
    if text:
        table["name"] = np.full(n, text, dtype="U200")
    return table


def full(text="plain", n=3):
    fpr = np.linspace(0, 1, 20)
    gamma = np.linspace(0.8, 1.2, 50)
    return ReportData(
        title=f"Run {text}",
        subtitle=text,
        notices=(text,),
        candidates=candidates(n, text),
        stamps=RNG.normal(size=(n, 16, 16, 3)).astype("f4"),
        noise_sigma=np.ones((n, 3)),
        bands=("g", "r", "i"),
        rgb=("i", "r", "g"),
        pixel_scale=0.263,
        detector={
            "metrics": {"auroc": 0.98, "auroc_std": 0.01, "n_lens": 1234},
            "roc": {"fpr": fpr, "tpr_mean": fpr**0.2, "tpr_std": 0 * fpr, "folds": [(fpr, fpr**0.2)]},
            "scores_lens": fpr,
            "scores_nonlens": fpr**3,
        },
        regressor={
            "theta_e": {
                "true": fpr,
                "median": fpr,
                "err_lo": fpr,
                "err_hi": fpr,
                "unit": "arcsec",
                "metrics": {"bias": -0.001, "coverage": {"0.68": 0.67}, "n_test": 20},
            }
        },
        slip={
            "model": text,
            "gamma": 1.003,
            "gamma_err_lo": 0.018,
            "gamma_err_hi": 0.019,
            "n_lenses": 9,
            "n_used": 8,
            "realizations": 100,
            "chi2_per_n": 1.0,
            "circular": True,
            "warnings": [text],
            "posterior": (gamma, np.exp(-0.5 * ((gamma - 1) / 0.05) ** 2)),
            "gamma_realizations": RNG.normal(1, 0.02, 9),
        },
        history=[{"epoch": e, "loss": 1 / e, "val_loss": 1 / e, "task": text} for e in (1, 2, 3)],
        funnel=[
            {"stage": "ingest", "units_done": 4, "units_failed": 1, "objects_in": 2000, "objects_out": 1900},
            {"stage": "find", "units_done": 4, "units_failed": 0, "objects_in": 1900, "objects_out": 1899},
        ],
        quarantine=Table(
            {
                "path": [text],
                "hdu": [text],
                "unit": [text],
                "object": [text],
                "reason": [text],
                "detail": [text],
            }
        ),
        facts={"seed": "1", text: text},
        repeat=(f"lenspipe run {text}",),
    )


class Page(HTMLParser):
    """The page as a browser's parser sees it: elements, attributes, text outside of scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.elements and self.elements[-1][0] not in ("script", "style"):
            self.words.append(data)


def test_hostile_text_stays_text():
    page = Page(render_report(full(HOSTILE)))
    tags = [tag for tag, _ in page.elements]
    assert tags.count("script") == 1
    assert tags.count("style") == 1
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], (
            tag,
            attributes,
        )
        if tag == "img":
            assert attributes["src"].startswith("data:image/")
    words = "".join(page.words)
    assert words.count("<script>alert(1)</script>") >= 3 * 3 + 8  # 3 cards' name, tile, match; the rest once
    # element for element the same page as without any attack
    assert tags == [tag for tag, _ in Page(render_report(full("plain"))).elements]


def test_page_asks_for_nothing_from_outside():
    text = render_report(full())
    page = Page(text)
    for _, attributes in page.elements:
        for name in ("src", "srcset", "href", "action", "poster", "data"):
            assert (attributes.get(name) or "data:").startswith(("data:", "#"))
    assert not re.search(r"https?://|@import|url\(", text)
    assert "link" not in [tag for tag, _ in page.elements]


def test_policy_allows_only_our_own_code():
    text = render_report(full())
    (policy,) = [
        a["content"] for t, a in Page(text).elements if a.get("http-equiv") == "Content-Security-Policy"
    ]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    for name in ("script", "style"):
        (content,) = re.findall(f"<{name}>(.*?)</{name}>", text, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules[f"{name}-src"] == f"'sha256-{digest}'"


def test_page_tells_the_story():
    text = render_report(dataclasses.replace(full(), candidates=candidates()))
    words = " ".join(" ".join(Page(text).words).split())
    assert (
        words.index("4 images searched") < words.index("1,899 objects scored") < words.index("3 candidates")
    )
    for part in (
        "LP J000000.00-000000.0",
        "0.990",
        "+0.06",
        "−0.04",
        "padded",
        "masked",
        "10.00000 -5.00000",
        "AUROC",
        "0.980 ± 0.010",
        "1.003",
        "8 of 9",
        "Circular",
        "68%: 0.67",
        "−0.001",
        "lenspipe run plain",
    ):
        assert part in words, part
    stamps = [a for t, a in Page(text).elements if t == "img" and a["src"].startswith("data:image/png")]
    assert len(stamps) == 3
    rings = [float(a["r"]) for t, a in Page(text).elements if t == "circle"]
    np.testing.assert_allclose(rings, 100 * np.linspace(1, 2, 3) / (16 * 0.263), atol=0.01)


OPTIONAL = (
    "candidates",
    "stamps",
    "noise_sigma",
    "pixel_scale",
    "detector",
    "regressor",
    "slip",
    "history",
    "quarantine",
)


@pytest.mark.parametrize("missing", [*OPTIONAL, "all"])
def test_any_part_may_be_missing(missing):
    names = OPTIONAL if missing == "all" else (missing,)
    text = render_report(dataclasses.replace(full(), **dict.fromkeys(names)))
    assert "Run plain" in text
    assert render_report(ReportData(title="bare")).count("<section") == 0


def test_no_candidates_is_said():
    data = dataclasses.replace(full(), candidates=empty_catalog(COLUMNS), stamps=np.zeros((0, 16, 16, 3)))
    assert "No object reached the threshold" in render_report(data)


def test_unknown_values_are_dashes_and_nothing_is_nan():
    table = candidates()
    for name in table.colnames:
        if table[name].dtype.kind == "f":
            table[name] = np.nan
    table["name"] = ""
    table["flags"] = int(Flag.NO_WCS)
    text = render_report(dataclasses.replace(full(), candidates=table))
    assert not re.search(r"\bnan\b", " ".join(Page(text).words))
    assert "no wcs" in text


def test_same_data_same_page_written_whole(tmp_path):
    data = full()
    path = write_report(tmp_path / "report" / "index.html", data)
    assert path.read_text(encoding="utf-8") == render_report(data)
    assert [p.name for p in path.parent.iterdir()] == ["index.html"]


def test_long_quarantine_is_cut_and_says_so():
    many = Table({"path": [f"p{i}" for i in range(1000)], "reason": ["fits_truncated"] * 1000})
    text = render_report(dataclasses.replace(full(), quarantine=many))
    assert "p299" in text
    assert "p300<" not in text
    assert "1,000" in text
    assert "quarantine.ecsv" in text


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (-1.5, 1, "−1.5"),
        (-0.0001, 2, "0.00"),
        (12345.6, 0, "12,346"),
        (np.nan, 2, "–"),
        (None, 2, "–"),
        (np.ma.masked, 2, "–"),
        (np.float32(0.5), 3, "0.500"),
    ],
)
def test_numbers(value, decimals, text):
    assert number(value, decimals) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.5, "0.50"),
        (0.0123, "0.012"),
        (4.56e-4, "4.6e-04"),
        (0.0, "0.00"),
        (float("nan"), "–"),
        (1.0, "1.00"),
    ],
)
def test_small_probabilities_keep_their_digits(value, text):
    assert probability(value) == text


def test_page_shows_what_the_scores_are_worth():
    part = {"n": [4], "rate": [0.5], "low": [0.3], "high": [0.7]}
    metrics = {
        "auroc": 0.98, "auroc_err": 0.004, "auroc_std": 0.01, "purity_top_100": 0.87, "threshold": 0.91,
        "completeness": {"theta_e": {"edges": [1.0, 2.0], **part}},
        "fpr_by_kind": {"ring": {"n": 4, "false_positives": 2, "rate": 0.5, "low": 0.3, "high": 0.7}},
        "reliability": {name: {"probability": [0.5], **part} for name in ("before", "after")},
    }  # fmt: skip
    promise = "expected purity of the 3 candidates: 0.4"
    data = dataclasses.replace(full(), detector={"metrics": metrics}, prior=5e-4, promise=promise)
    page = Page(render_report(data))
    words = " ".join(" ".join(page.words).split())
    assert "0.980 ± 0.004" in words  # the error of the number itself, where it is known
    assert "0.870" in words
    assert "Expected purity of the 3 candidates: 0.4." in words
    shown = [a["alt"] for t, a in page.elements if t == "img"]
    for alt in ("share of lenses found", "false positive rate of each kind", "rate of lenses against"):
        assert any(text.startswith(alt) for text in shown), alt


def test_models_fitted_to_the_pixels_stand_beside_the_networks_word():
    data = full()
    data.candidates["novelty"] = [0.5, np.nan, 1.7]
    for name, values in {
        "fit_theta_e": 1.234,
        "fit_theta_e_err": 0.012,
        "fit_q": 0.7,
        "fit_chi2": 1.08,
    }.items():
        data.candidates[name] = [values, np.nan, values]
    page = render_report(data)
    assert page.count("Einstein radius fitted to the pixels") == 3
    assert page.count("1.234") == 2
    assert page.count("χ² per degree of the fit 1.08") == 2
    assert page.count("novelty 1.70") == 1
    assert "χ² per degree of the fit" not in render_report(full())
