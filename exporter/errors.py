"""Errors of export, verification and compilation; see `runtimes.errors` for the rules."""

from __future__ import annotations

from runtimes.errors import LatedgeError


class SourceError(LatedgeError):
    """The source model is missing, incomplete, of a refused format or of an unknown class."""


class WeightError(LatedgeError):
    """A weight is missing, unexpected or misshapen."""


class VerificationError(LatedgeError):
    """An exported component departs from its reference by more than its threshold."""


class CompileError(LatedgeError):
    """A portable bundle can't be compiled as asked."""


class StoppedError(LatedgeError):
    """The work was stopped from outside; what was finished by then is whole."""
