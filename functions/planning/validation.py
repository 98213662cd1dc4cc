"""Validate rows. Each rejection has one sentence: what is wrong, where, and what to change."""

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from functions.errors import UNREADABLE_JSON
from functions.model.capabilities import SAMPLING, sampling_exists
from functions.model.rows import Record, Rejection, Row
from functions.planning.json_faults import MAX_ID_BYTES, NULL, fault_of, place_of, readable_id
from functions.planning.preflight import Preflight

_ABSENT = msgspec.Raw(b"")
MAX_VALUES = 1_000_000
"""The most values of a row that is parsed whole. In Python each takes about 100 bytes, and 3 bytes in the upload."""
_NOT_IN_A_BATCH = (
    "speed",
    "store",
    "previous_thread_event_id",
    "cache_hint",
    "context_hint",
    "fallbacks",
)
"""Parameters that the API refuses in any batch."""
_ALL_UNSUPPORTED = (*_NOT_IN_A_BATCH, *SAMPLING)
_REQUIRED = ("model", "max_tokens", "messages")
SDK_ARGUMENTS = {
    "betas": "remove it",
    "extra_headers": "remove it",
    "extra_body": 'move its members into "params"',
}
"""Arguments of the SDK that the API refuses in every request, and what to change.

Other unknown members are sent, because the API may accept them.
"""

NO_PARAMS = (
    '"params" is missing or not an object; use the body of a Messages request: '
    '{"model": "…", "max_tokens": 1024, "messages": […]}'
)
_STRING_OR_NUMBER = re.compile(rb'["\d-]')
_ZERO = re.compile(rb"-?0(\.0+)?([eE][+-]?\d+)?")
_UNSET = (b"null", b"false")


class _Request(msgspec.Struct):
    custom_id: msgspec.Raw = NULL
    params: msgspec.Raw = NULL


class _OtherNames(msgspec.Struct, gc=False):
    """Names that other tools use for a custom_id. The first one that is present wins."""

    camel: msgspec.Raw = msgspec.field(default=NULL, name="customId")
    id: msgspec.Raw = NULL
    record: msgspec.Raw = msgspec.field(default=NULL, name="recordId")
    key: msgspec.Raw = NULL


class _Params(msgspec.Struct):
    """The members of params that are checked, left raw: a number may be too large to decode."""

    model: msgspec.Raw = NULL
    messages: msgspec.Raw = NULL
    stream: msgspec.Raw = NULL
    max_tokens: msgspec.Raw = NULL
    betas: msgspec.Raw = _ABSENT
    extra_headers: msgspec.Raw = _ABSENT
    extra_body: msgspec.Raw = _ABSENT
    speed: msgspec.Raw = NULL
    store: msgspec.Raw = NULL
    previous_thread_event_id: msgspec.Raw = NULL
    cache_hint: msgspec.Raw = NULL
    context_hint: msgspec.Raw = NULL
    fallbacks: msgspec.Raw = NULL
    temperature: msgspec.Raw = NULL
    top_p: msgspec.Raw = NULL
    top_k: msgspec.Raw = NULL


_request = msgspec.json.Decoder(_Request)
_other_names = msgspec.json.Decoder(_OtherNames)
_params = msgspec.json.Decoder(_Params)
_any_object = msgspec.json.Decoder(dict[str, Any])


class _RejectedError(Exception):
    """A check failed. It holds the code, the sentence and the custom_id that a broken row still shows."""

    def __init__(self, *, code: str, sentence: str, custom_id: msgspec.Raw | None = None) -> None:
        super().__init__(sentence)
        self.code, self.custom_id = code, custom_id


def validate(
    record: Record,
    *,
    row_bytes: int,
    api_version: str,
    preflight: Preflight | None = None,
    betas: Iterable[str] = (),
) -> Row:
    """Return a record's request, or a rejection if it cannot be sent.

    Args:
        record: a record that a reader yielded.
        row_bytes: the maximum length of a row in bytes.
        api_version: the value of the `anthropic-version` header. It decides which parameters are refused.
        preflight: the checks of the model and the messages; None for none.
        betas: values of `anthropic-beta` that the row needs besides those of its job.
    """
    custom_id = NULL
    try:
        data = _data_of(record, row_bytes)
        request = _decode(data, record.line, record.column)
        custom_id = _check_custom_id(_custom_id_of(request, data))
        params = _check_params(request.params, api_version, preflight)
        _check_model(params, preflight, betas)
    except _RejectedError as rejected:
        message = f"line {record.line}: {rejected}"
        rejection = Rejection(rejected.code, message, record.line)
        return Row(rejected.custom_id or custom_id, None, rejection)
    return Row(custom_id, params, None)


def _data_of(record: Record, row_bytes: int) -> bytes:
    if record.fault is not None:
        code, sentence = record.fault
        custom_id = _id_beside_fault(record.data or b"")
        raise _RejectedError(code=code, sentence=sentence, custom_id=custom_id)
    if record.data is None:
        sentence = (
            f"the row is {record.size:,} bytes long; the limit is {row_bytes:,}; shorten it or "
            "raise the setting rowBytes"
        )
        raise _RejectedError(code="too_long", sentence=sentence)
    return record.data


def _id_beside_fault(data: bytes) -> msgspec.Raw:
    """Return the custom_id of a row that its reader rejects; ``null`` if its bytes do not show it."""
    try:
        _check_utf8(data, 1, 1)
        custom_id = _custom_id_of(_request.decode(data), data)
    except (_RejectedError, *UNREADABLE_JSON):
        return readable_id(data, None)
    return custom_id if len(custom_id) <= MAX_ID_BYTES else NULL


def _decode(data: bytes, line: int, column: int) -> _Request:
    _check_utf8(data, line, column)
    try:
        return _request.decode(data)
    except msgspec.ValidationError:
        sentence = 'not a JSON object; each row must be {"custom_id": "…", "params": {…}}'
        raise _RejectedError(code="not_an_object", sentence=sentence) from None
    except RecursionError:
        custom_id = readable_id(data, None)
        sentence = "the JSON is nested too deeply"
        raise _RejectedError(code="too_deep", sentence=sentence, custom_id=custom_id) from None
    except msgspec.DecodeError as error:
        code, sentence, offset = fault_of(data, line, column, str(error))
        custom_id = readable_id(data, offset)
        raise _RejectedError(code=code, sentence=sentence, custom_id=custom_id) from None


def _check_utf8(data: bytes, line: int, column: int) -> None:
    if data.isascii():  # about six times as fast as decoding
        return
    try:
        data.decode()
    except UnicodeDecodeError as error:
        custom_id = readable_id(data, None)
        place = place_of(data, error.start, line, column)
        sentence = f"invalid UTF-8 at {place}; save the file as UTF-8"
        raise _RejectedError(code="invalid_utf8", sentence=sentence, custom_id=custom_id) from None


def _custom_id_of(request: _Request, data: bytes) -> msgspec.Raw:
    """Return the custom_id, else `customId`, `id`, `recordId` or `key`; ``null`` if the row has none."""
    if request.custom_id != NULL:
        return request.custom_id
    return _other_name(_other_names.decode(data))


def custom_ids_of(own: list[msgspec.Raw], text: bytes) -> list[msgspec.Raw]:
    """Return the custom_id of many rows at once, one row per line.

    Args:
        own: the `custom_id` of each row; ``null`` for a row without one.
        text: the lines, as UTF-8 JSON.
    """
    if NULL not in own:
        return own
    others = _other_names.decode_lines(text)
    return [
        _other_name(other) if custom_id == NULL else custom_id
        for custom_id, other in zip(own, others, strict=False)  # the caller compares the counts
    ]


def _other_name(row: _OtherNames) -> msgspec.Raw:
    """Return the first of the other names that holds a string or a number; ``null`` if none does."""
    candidates = (row.camel, row.id, row.record, row.key)
    return next((value for value in candidates if _STRING_OR_NUMBER.match(bytes(value))), NULL)


def _check_custom_id(custom_id: msgspec.Raw) -> msgspec.Raw:
    """Return the custom_id unless it is too long. The limit also bounds its nesting, for later parsing."""
    if len(custom_id) > MAX_ID_BYTES:
        sentence = (
            f'"custom_id" is {len(custom_id):,} bytes long; the limit is {MAX_ID_BYTES:,}; shorten it '
            "(it is null in results.jsonl)"
        )
        raise _RejectedError(code="custom_id_too_long", sentence=sentence)
    return custom_id


def _check_params(params: msgspec.Raw, api_version: str, preflight: Preflight | None) -> bytes:
    raw = bytes(params)
    if not raw.startswith(b"{"):
        raise _RejectedError(code="no_params", sentence=NO_PARAMS)
    members = _params.decode(params)
    if bytes(members.stream) not in _UNSET:
        sentence = '"stream" is not supported in batches; remove it'
        raise _RejectedError(code="unsupported_parameter", sentence=sentence)
    if _ZERO.fullmatch(members.max_tokens):
        sentence = '"max_tokens" is 0; it must be at least 1'
        raise _RejectedError(code="unsupported_parameter", sentence=sentence)
    for name in unsupported_params(api_version, preflight):
        if bytes(getattr(members, name)) != b"null":
            sentence = (
                f'"{name}" is not supported in batches (API version {api_version}); remove it'
            )
            raise _RejectedError(code="unsupported_parameter", sentence=sentence)
    _check_names(members)
    return raw


def has_too_many_values(data: bytes) -> bool:
    """Return whether JSON may have more than `MAX_VALUES` values, by the commas and brackets in it."""
    if len(data) <= MAX_VALUES:
        return False
    return data.count(b",") + data.count(b"{") + data.count(b"[") > MAX_VALUES


def _check_model(params: bytes, preflight: Preflight | None, betas: Iterable[str]) -> None:
    """Reject params that their model is certain to refuse."""
    if preflight is None or has_too_many_values(params):
        return
    try:
        found = preflight.with_betas(betas).refusal(_any_object.decode(params))
    except UNREADABLE_JSON:  # numbers too large for Python: the API decides
        return
    if found is not None:
        code, sentence = found
        raise _RejectedError(code=code, sentence=sentence)


def _check_names(members: _Params) -> None:
    """Reject params that are certain to fail. The API would report each row only when its batch ends."""
    for name, remedy in SDK_ARGUMENTS.items():
        if bytes(getattr(members, name)):
            sentence = f'"{name}" is an SDK argument that the API refuses in "params"; {remedy}'
            raise _RejectedError(code="unsupported_parameter", sentence=sentence)
    for name in _REQUIRED:
        if bytes(getattr(members, name)) == b"null":
            sentence = (
                f'"{name}" is missing; "params" requires "model", "max_tokens" and "messages"'
            )
            raise _RejectedError(code="missing_parameter", sentence=sentence)


def unsupported_params(api_version: str, preflight: Preflight | None = None) -> tuple[str, ...]:
    """Return the parameters that batches of this API version refuse, by the job's list of capabilities."""
    capability_list = None if preflight is None else preflight.capability_list
    if sampling_exists(api_version, capability_list):
        return _NOT_IN_A_BATCH
    return _ALL_UNSUPPORTED
