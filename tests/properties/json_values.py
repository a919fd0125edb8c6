"""Strategies for JSON of any shape, and for text that is nearly JSON."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
"""What Python's reader may return: NaN and infinities too."""

HOSTILE = st.sampled_from(
    (
        "",
        " ",
        "null",
        "NaN",
        "Infinity",
        "-Infinity",
        "1e999",
        "9" * 5000,
        "-" + "9" * 5000,
        "[" * 100_000,
        "[" * 500 + "]" * 500,
        '{"a":' * 100_000,
        '{"a":' * 3000 + "1" + "}" * 3000,
        '"\\ud800"',
        '"\\u0000"',
        "\x00",
        "\ufeff{}",
        "{'a': 1}",
        "{} {}",
        '{"__type__": "datetime", "__value__": "yesterday"}',
        '{"__type__": "os.system", "__value__": "true"}',
    )
)


@st.composite
def bent(draw: st.DrawFn, texts: st.SearchStrategy[str]) -> str:
    """Take a text and cut it, or put something in or over some of it."""
    text = draw(texts)
    where = draw(st.integers(0, len(text)))
    match draw(st.sampled_from(("cut", "insert", "overwrite", "twice", "as is"))):
        case "cut":
            return text[:where]
        case "insert":
            return text[:where] + draw(st.text(max_size=5) | HOSTILE) + text[where:]
        case "overwrite":
            return text[:where] + draw(st.text(max_size=5)) + text[where + draw(st.integers(0, 5)) :]
        case "twice":
            return text * 2
    return text


def written(values: st.SearchStrategy[Any]) -> st.SearchStrategy[str]:
    """Return JSON texts of values, as Python writes them."""
    return values.map(json.dumps)
