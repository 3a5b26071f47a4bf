"""`python -m pipeline.cli` is `sluis`."""

from pipeline.cli import main

main()
