"""Figures, ours beside the rivals', from one run: `make bench`, and `docs/benchmarks.md`.

    corpora.py      codes to look up, made from photographs by a seeded generator
    timing.py       turns in one process, one core, medians with their spread, fits
    scales.py       how much is measured: --quick, the default, --full
    rivals.py       ours and the indexes that people use instead, under one interface
    lookup.py       exact lookup: speed, recall, radii, latency, build, open
    growth.py       what a query costs as the indicators grow
    memory.py       what an index holds, in a process of its own
    hashing.py      JPEG bytes to code
    views.py        what each profile of views costs, and finds
    candidates.py   seals, and candidates into the store (party.py serves them)
    scanning.py     the whole scan over the bare scanner loop
    units.py        all of that, cut into what is measured at a time
    results.py      the figures as JSON, with where and when each was taken
    targets.py      the figures to reach, and whether they are
    tables.py  plots.py  page.py    results as tables, as plots, as the page

`make test` needs none of the rivals, nor do `page` and what it imports: they are imported late.
"""
