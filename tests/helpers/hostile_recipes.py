"""Recipes with what YAML allows and no option takes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_ODDS = 0.02  # that a key or a value is replaced
_SCALARS = (
    *("null", "true", "-1", "1e999", "1.5e-7", ".nan", "-.inf", "0x_", "0b_", "0123", "1:30", "=", "*a", "&b"),
    *("9" * 400, "9" * 5000, "0x" + "f" * 5000, "2026-01-31", "2026-99-99", "é", "表", "'" + "x" * 300 + "'"),
    *('"\\0"', '"\\uD800"', '"' + "x/" * 3000 + '"', "!!int x", "!!float ''", "!!bool x", "!!binary aGk=", "!!set {a}"),
    *("!!timestamp x", "!!omap [a: 1]", "!!python/name:os.system", "! x", "!a!b c"),
)
_KEYS = (
    *("1", "null", ".nan", "true", "2026-01-31", "''", "é", '"\\0"', '"\\uD800"', "<<", "*a ", "&b c", "!!binary aGk="),
    *("? [a]\n", "? {a: 1}\n", "run.seed", "students", "x" * 200),
)


def hostile_recipe(good: Mapping[str, Any], draw: np.random.Generator) -> bytes:
    """The text of a recipe with the content `good`, but for some keys and values."""
    return "\n".join(f"{_key(key, good, draw)}: {_value(value, draw)}" for key, value in good.items()).encode()


def _key(key: str, beside: Mapping[str, Any], draw: np.random.Generator) -> str:
    return pick([*_KEYS, *beside], draw) if draw.random() < _ODDS else key


def _value(value: Any, draw: np.random.Generator) -> str:
    if draw.random() < _ODDS:
        return _strange(draw)
    anchor = "&a " if draw.random() < _ODDS else ""
    if isinstance(value, dict):
        return f"{anchor}{{{', '.join(f'{_key(key, value, draw)}: {_value(value[key], draw)}' for key in value)}}}"
    if isinstance(value, list):
        return f"{anchor}[{', '.join(_value(each, draw) for each in value)}]"
    return anchor + json.dumps(value)


def _strange(draw: np.random.Generator) -> str:
    kind, depth = draw.integers(8), int(draw.choice([3, 30, 600], p=[0.5, 0.45, 0.05]))  # the last takes long
    if kind == 0:
        return "[" * depth + "]" * depth
    if kind == 1:
        return "{a: " * depth + "1" + "}" * depth
    if kind == 2:
        return many_aliases(int(draw.choice([1, 3, 11])))
    if kind == 3:
        return pick(("&m {<<: *m}", "{<<: [*a, 1]}", "{<<: {seed: 1}, seed: 2}", "&l [*l]", "{<<: {name: x}}"), draw)
    if kind == 4:
        return f"[{', '.join(_strange(draw) for _ in range(draw.integers(4)))}]"
    return pick(_SCALARS, draw)


def many_aliases(levels: int) -> str:
    """A list that has 9 ** `levels` values and some more, once its aliases are written out."""
    lists = ["&n0 [x]", *(f"&n{level} [{', '.join(9 * [f'*n{level - 1}'])}]" for level in range(1, levels + 1))]
    return f"[{', '.join(lists)}]"


def pick(values: Sequence[str], draw: np.random.Generator) -> str:
    return values[int(draw.integers(len(values)))]
