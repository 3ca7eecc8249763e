"""Every exception lenspipe raises on purpose.

Two families. A `UserError` is the caller's to mend: the command line prints its one line and ends
with status 2. A `Rejected` is one input that cannot be used: a stage catches it, writes its reason
into the quarantine table and goes on with the rest.
"""

from __future__ import annotations


class LenspipeError(Exception):
    """Base of all errors raised on purpose by lenspipe."""


class UserError(LenspipeError):
    """A mistake that the user can mend; the message says what was expected, what came, what to do."""


class ConfigError(UserError):
    """A recipe, a survey file or a `--set` that cannot be used."""


class InputError(UserError):
    """A file, table or folder named by the user that is missing or not what it should be."""


class ModelMismatch(UserError):
    """Data that a model was not made for (bands, pixel scale, stamp size)."""


class RunLocked(UserError):
    """Another run owns the run directory."""


class Rejected(LenspipeError):
    """One input that cannot be used, with the reason code that the quarantine table shows.

    Parameters
    ----------
    reason : str
        A short code such as ``missing_band:i`` or ``fits_truncated``.
    detail : str
        One sentence for a person.
    path, hdu : str
        The file and extension at fault, where they are known.
    """

    def __init__(self, reason: str, detail: str = "", path: str = "", hdu: str = ""):
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail, self.path, self.hdu = reason, detail, path, hdu

    def __reduce__(self):  # keyword state must survive the trip from a worker process
        return type(self), (self.reason, self.detail, self.path, self.hdu)
