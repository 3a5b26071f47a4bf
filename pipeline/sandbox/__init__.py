"""Where files of strangers are decoded: processes that can do nothing else (docs/sandbox.md)."""

from pipeline.sandbox.pool import Sandbox

__all__ = ["Sandbox"]
