from __future__ import annotations

import re

from lenspipe import __version__
from lenspipe.core.version import code_version


def test_code_version_names_release_and_sources():
    assert re.fullmatch(rf"{re.escape(__version__)}\+[0-9a-f]{{8}}", code_version())
