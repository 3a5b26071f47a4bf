"""Signed indicator sets: build, verify, load."""

from matchers.indicators.load import IndicatorSet, VersionLedger, load
from matchers.indicators.manifest import Manifest

__all__ = ["IndicatorSet", "Manifest", "VersionLedger", "load"]
