"""How items get to the matchers, and what happens to a match: gate, scan, seal, emit, verify."""
