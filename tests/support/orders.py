"""Detection orders for tests: the shipped example, with some of it changed or left out."""

from __future__ import annotations

import copy
from typing import Any

import yaml

from pipeline import order
from pipeline.order import Order


def example_values() -> dict[str, Any]:
    """The shipped example as YAML gives it: a fresh copy each time."""
    return yaml.safe_load(order.example())


def with_value(path: str, value: object, values: dict[str, Any] | None = None) -> dict[str, Any]:
    """The values with the field at a dotted path set to something else."""
    changed = copy.deepcopy(example_values() if values is None else values)
    *sections, name = path.split(".")
    section = changed
    for part in sections:
        section = section[part]
    section[name] = value
    return changed


def without(path: str) -> dict[str, Any]:
    """The example without the field at a dotted path."""
    changed = example_values()
    *sections, name = path.split(".")
    section = changed
    for part in sections:
        section = section[part]
    del section[name]
    return changed


def make_order(**changes: object) -> Order:
    """The example as a valid order; a name with a double underscore changes a nested field."""
    values = example_values()
    for name, value in changes.items():
        values = with_value(name.replace("__", "."), value, values)
    return order.parse(values, "order.yaml")
