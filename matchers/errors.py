"""The one error tree of `matchers`: what happened, to which input, what to do."""

from __future__ import annotations


class MatcherError(Exception):
    """Base of everything that `matchers` raises on purpose."""


class DecodeError(MatcherError):
    """An item's bytes could not be made into pixels.

    Attributes:
        reason: a stable lower-case word that is safe to count, log and report (it never holds
            anything of the content): `unrecognised_format`, `too_many_pixels`, `truncated`, ...
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class UrlError(MatcherError):
    """A URL could not be brought into canonical form. `reason` is safe to count and report."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class IndexFormatError(MatcherError):
    """A saved index is not one of ours, of another version, or altered. Rebuild it."""


class IndicatorSetError(MatcherError):
    """An indicator set may not be used. The message names the set and the remedy."""


class SignatureRefused(IndicatorSetError):  # noqa: N818 - reads as the outcome it is
    """No trusted signature covers the set's manifest."""


class SetAltered(IndicatorSetError):  # noqa: N818
    """The set's data file is not the one that was signed."""


class SetExpired(IndicatorSetError):  # noqa: N818
    """The set is past its `not_after`, or not yet in force."""


class RollbackRefused(IndicatorSetError):  # noqa: N818
    """An older version of the set than one already used here."""
