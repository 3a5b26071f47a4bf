"""Spoilt and made-up input for every parser: `make fuzz` and `make mutate`."""
