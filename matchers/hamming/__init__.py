"""Exact search for every 256-bit code within a Hamming radius."""

from matchers.hamming.index import HammingIndex, Matches

__all__ = ["HammingIndex", "Matches"]
