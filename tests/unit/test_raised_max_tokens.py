"""A row is sent once more with a larger max_tokens; every other byte of its params stays."""

from typing import Any

import msgspec
import pytest

from functions.model.items.job import MaxTokensRaise
from functions.model.raised_max_tokens import with_raised_max_tokens
from tests.unit.factories import job

MODEL = b'{"model":"claude-haiku-4-5","max_tokens":%b,"messages":[]}'
RAISED = [
    ("doubled", MODEL % b"100", MODEL % b"200"),
    ("at most `most`", MODEL % b"30000", MODEL % b"32000"),
    ("white space", b'{ "max_tokens" :\n 7, "model":"m" }', b'{ "max_tokens" :\n 14, "model":"m" }'),
    ("not the first member", b'{"model":"m","max_tokens":7}', b'{"model":"m","max_tokens":14}'),
    (
        "members of this name inside",
        b'{"tools":[{"max_tokens":1}],"a":"\\"max_tokens\\":2","b":"max_tokens","max_tokens":7,"c":{"max_tokens":3},"model":"m"}',
        b'{"tools":[{"max_tokens":1}],"a":"\\"max_tokens\\":2","b":"max_tokens","max_tokens":14,"c":{"max_tokens":3},"model":"m"}',
    ),
    ("twice: parsers take the last", b'{"model":"m","max_tokens":7,"max_tokens":8}', b'{"model":"m","max_tokens":7,"max_tokens":16}'),
    ("as much as it may have", MODEL % b"32000", None),
    ("more than that", MODEL % b"40000", None),
    ("another spelling of the name", b'{"model":"m","max\\u005ftokens":7}', None),
    ("no number", b'{"model":"m","max_tokens":"7"}', None),
    ("not JSON", b"{", None),
]  # fmt: skip


@pytest.mark.parametrize(("params", "expected"), [case[1:] for case in RAISED], ids=[case[0] for case in RAISED])  # fmt: skip
def test_only_the_number_changes(params: bytes, expected: bytes | None) -> None:
    increase = MaxTokensRaise(percent=200, limit=32_000)

    assert with_raised_max_tokens(job(retry_truncated=increase), (), params) == expected


LIMITS: list[tuple[str, tuple[str, ...], int]] = [
    ("claude-from-tomorrow", (), 128_000),
    ("claude-haiku-4-5-20251001", (), 64_000),
    ("claude-opus-5-5", ("output-300k-2026-03-24",), 300_000),
]


@pytest.mark.parametrize(("model", "betas", "maximum"), LIMITS)
def test_no_more_than_the_model_takes(model: str, betas: tuple[str, ...], maximum: int) -> None:
    increase = MaxTokensRaise(percent=10_000, limit=1_000_000)
    params: dict[str, Any] = {"model": model, "max_tokens": 20_000}

    raised = with_raised_max_tokens(
        job(retry_truncated=increase), betas, msgspec.json.encode(params)
    )

    assert raised is not None
    assert msgspec.json.decode(raised) == params | {"max_tokens": maximum}
