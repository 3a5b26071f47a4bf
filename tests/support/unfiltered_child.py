"""A sandbox's child on a machine without libseccomp."""

from __future__ import annotations

import sys

from pipeline.sandbox import child, warm_up

if __name__ == "__main__":
    sys.modules["pyseccomp"] = None
    warm_up.decoders = lambda: None
    child.main(*(int(argument) for argument in sys.argv[1:]))
