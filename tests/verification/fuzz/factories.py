"""Strategies for inputs that resemble real ones, and for malformed ones."""

import json

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

FEW_EXAMPLES = settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
"""Derandomized: an unrelated change should not fail on a new finding. Campaigns look for those."""

words = st.sampled_from(
    [
        "custom_id", "params", "stream", "max_tokens", "row", "result", "type", "error", "message", "usage", "model",
        "messages", "betas", "data", "created_at", "Records", "s3", "key", "temperature", "\ud83d\ude00", "}{", "\\",
    ]
)  # fmt: skip
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=4),
    max_leaves=8,
)
_objects = st.dictionaries(words, values, max_size=4).map(
    lambda document: json.dumps(document).encode()
)
_required = {"model": "m", "max_tokens": 5, "messages": []}
_params = st.dictionaries(words, values, max_size=3).map(
    lambda document: json.dumps({**_required, **document}).encode()
)
_rows = st.builds(
    lambda custom_id, params: (
        b'{"custom_id":%b,"params":%b}' % (json.dumps(custom_id).encode(), params)
    ),
    values,
    _params | _objects,
)
_fragments = st.sampled_from(
    [b"\n", b"\r\n", b" ", b"}", b"{", b'"', b"\\", b"\xff", b"\0", b"\xef\xbb\xbf", b"\xff\xfe", b"x" * 30]
)  # fmt: skip
bodies = st.lists(_rows | _objects | _fragments | st.binary(max_size=6), max_size=9).map(b"".join)
inputs = st.builds(
    lambda take_bytes, body: take_bytes + body, st.binary(min_size=4, max_size=4), bodies
)
"""Leading bytes as every target takes them, then rows, objects and fragments in any order."""

_texts = st.text(max_size=8).map(str.encode) | st.sampled_from(
    [b'"', b",", b";", b"\t", b"\r\n", b"\n", b"\r", b'"\r', b"=1", b"\\", b"", b" ", b"{", b"]"]
)
cells = st.builds(
    lambda take_bytes, parts: take_bytes + b"\xff".join(map(b"".join, parts)),
    st.binary(min_size=3, max_size=3),
    st.lists(st.lists(_texts, max_size=3), max_size=9),
)
"""Leading bytes, then texts with what tables and JSON treat specially, each after a byte that no text has."""
