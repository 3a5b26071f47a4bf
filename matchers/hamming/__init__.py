"""Exact search for every 256-bit code within a Hamming radius."""

from matchers.hamming.backend import BackendName
from matchers.hamming.index import HammingIndex, Matches
from matchers.hamming.live import LiveIndex

__all__ = ["BackendName", "HammingIndex", "LiveIndex", "Matches"]
