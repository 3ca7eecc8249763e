"""The report: one HTML page that needs nothing but itself.

All text may come from FITS headers and is hostile until escaped: Jinja2 escapes everything, and the
page's own policy lets a browser run only the script and style whose hashes it names, and fetch nothing.
"""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from lenspipe.io.files import write_text
from lenspipe.report import views
from lenspipe.report.data import ReportData
from lenspipe.report.posteriors import regressor_view
from lenspipe.report.slip import slip_view

TEMPLATES = Path(__file__).parent / "templates"


def write_report(path: str | Path, data: ReportData) -> Path:
    """Write the page atomically and return its path."""
    path = Path(path)
    write_text(path, render_report(data))
    return path


def render_report(data: ReportData) -> str:
    """Return the page as text."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_writable,
    )
    environment.filters.update(number=views.number, count=views.count)
    style, script = ((TEMPLATES / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    return environment.get_template("report.html.j2").render(
        data=data,
        style=Markup(style),
        script=Markup(script),
        policy=_policy(style, script),
        headline=views.headline(data),
        cards=views.cards(data),
        flags=views.flags_seen(data.candidates),
        training=views.training_view(data.training),
        detector=views.detector_view(data.detector),
        regressor=regressor_view(data.regressor),
        histories=views.history_pictures(data.history),
        slip=slip_view(data.slip),
        quarantine=views.quarantine_view(data.quarantine),
    )


def _policy(style: str, script: str) -> str:
    """Return the content security policy: no request leaves the page, only our own code runs."""

    def digest(text: str) -> str:
        return base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")

    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest(style)}'; "
        f"script-src 'sha256-{digest(script)}'; base-uri 'none'; form-action 'none'"
    )


def _writable(value: Any) -> Any:
    """Drop from text what UTF-8 or HTML cannot hold: control characters and lone surrogates."""
    if not isinstance(value, str):
        return value
    return type(value)(re.sub("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", "\ufffd", value))
