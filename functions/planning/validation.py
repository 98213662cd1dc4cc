"""Whether a row can be sent, and if not, why: one sentence that says what is wrong, where, and what to do."""

import re
from functools import cache

import msgspec

from functions.model.rows import Record, Rejection, Row
from functions.planning.broken import ID_BYTES, NULL, fault_of, readable_id

_ABSENT = msgspec.Raw(b"")
_NOT_IN_A_BATCH = (
    "speed",
    "store",
    "previous_thread_event_id",
    "cache_hint",
    "context_hint",
    "fallbacks",
)
_NOT_SINCE = {"2026-10-21": ("temperature", "top_p", "top_k")}
"""Parameters that the API refuses in a batch; and those refused from a version of the API on."""
_NEEDED = ("model", "max_tokens", "messages")
SDK_ARGUMENTS = {
    "betas": "leave it out",
    "extra_headers": "leave it out",
    "extra_body": 'put what it holds into "params" itself',
}
"""Members without which, and with which, every request fails, and what to do; of other unknown ones nobody can be sure."""

_SIMPLE = re.compile(rb'["\d-]')
_ZERO = re.compile(rb"-?0(\.0+)?([eE][+-]?\d+)?")
_UNSET = (b"null", b"false")


class _Request(msgspec.Struct):
    custom_id: msgspec.Raw = NULL
    params: msgspec.Raw = NULL


class _OtherNames(msgspec.Struct, gc=False):
    """What other tools call a custom_id, in the order in which they count."""

    camel: msgspec.Raw = msgspec.field(default=NULL, name="customId")
    id: msgspec.Raw = NULL
    record: msgspec.Raw = msgspec.field(default=NULL, name="recordId")
    key: msgspec.Raw = NULL


class _Params(msgspec.Struct):
    """What decides whether params can be sent: raw, since a number may be too large to be one here."""

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


class _RejectedError(Exception):
    """Carries a rejection's code and sentence out of a check, and the custom_id that a broken row is known to have."""

    def __init__(self, *, code: str, sentence: str, custom_id: msgspec.Raw | None = None) -> None:
        super().__init__(sentence)
        self.code, self.custom_id = code, custom_id


def validate(record: Record, *, row_bytes: int, api_version: str) -> Row:
    """Decide whether a record can be sent.

    Args:
        record: as a reader found it.
        row_bytes: how long a row may be.
        api_version: which parameters are refused depends on it.
    """
    custom_id = NULL
    try:
        data = _data_of(record, row_bytes)
        request = _decode(data, record.column)
        custom_id = _check_custom_id(_custom_id_of(request, data))
        params = _check_params(request.params, api_version)
    except _RejectedError as rejected:
        message = f"line {record.line}: {rejected}"
        rejection = Rejection(rejected.code, message, record.line)
        return Row(rejected.custom_id or custom_id, None, rejection)
    return Row(custom_id, params, None)


def _data_of(record: Record, row_bytes: int) -> bytes:
    if record.data is None:
        sentence = (
            f"the row is {record.size:,} bytes long, and {row_bytes:,} is the most; shorten it, or "
            "raise the setting rowBytes"
        )
        raise _RejectedError(code="too_long", sentence=sentence)
    return record.data


def _decode(data: bytes, column: int) -> _Request:
    _check_utf8(data, column)
    try:
        return _request.decode(data)
    except msgspec.ValidationError:
        sentence = 'not a JSON object; a row is {"custom_id": "…", "params": {…}}'
        raise _RejectedError(code="not_an_object", sentence=sentence) from None
    except RecursionError:
        own = readable_id(data, None)
        sentence = "nested too deeply to be read"
        raise _RejectedError(code="too_deep", sentence=sentence, custom_id=own) from None
    except msgspec.DecodeError as error:
        code, sentence, at = fault_of(data, column, str(error))
        own = readable_id(data, at)
        raise _RejectedError(code=code, sentence=sentence, custom_id=own) from None


def _check_utf8(data: bytes, column: int) -> None:
    if data.isascii():  # six times quicker to see
        return
    try:
        data.decode()
    except UnicodeDecodeError as error:
        own = readable_id(data, None)
        sentence = f"broken UTF-8 at column {column + error.start}; save the file as UTF-8"
        raise _RejectedError(code="invalid_utf8", sentence=sentence, custom_id=own) from None


def _custom_id_of(request: _Request, data: bytes) -> msgspec.Raw:
    """Give the row's custom_id, or what other tools call it: `customId`, `id`, `recordId` or `key`."""
    if request.custom_id != NULL:
        return request.custom_id
    return _other_name(_other_names.decode(data))


def custom_ids_of(own: list[msgspec.Raw], text: bytes) -> list[msgspec.Raw]:
    """Give the same of many rows, one a line, at once.

    Args:
        own: what each has as `custom_id`; ``null`` where it has none.
        text: the lines.
    """
    if NULL not in own:
        return own
    others = _other_names.decode_lines(text)
    return [
        _other_name(other) if one == NULL else one
        for one, other in zip(own, others, strict=False)  # not as many: the caller sees it
    ]


def _other_name(row: _OtherNames) -> msgspec.Raw:
    """Choose by name; what is no string and no number is something else than an id."""
    named = (row.camel, row.id, row.record, row.key)
    return next((one for one in named if _SIMPLE.match(bytes(one))), NULL)


def _check_custom_id(custom_id: msgspec.Raw) -> msgspec.Raw:
    """Refuse one that is too long to be kept; a shorter one is not nested so deeply that it could not be read again."""
    if len(custom_id) > ID_BYTES:
        sentence = (
            f'"custom_id" is {len(custom_id):,} bytes long, and {ID_BYTES:,} is the most; shorten it (it is null '
            "in results.jsonl)"
        )
        raise _RejectedError(code="custom_id_too_long", sentence=sentence)
    return custom_id


def _check_params(params: msgspec.Raw, api_version: str) -> bytes:
    raw = bytes(params)
    if not raw.startswith(b"{"):
        sentence = (
            '"params" is missing or not an object; it holds what a Messages request holds: '
            '{"model": "…", "max_tokens": 1024, "messages": […]}'
        )
        raise _RejectedError(code="no_params", sentence=sentence)
    given = _params.decode(params)
    if bytes(given.stream) not in _UNSET:
        raise _RejectedError(
            code="unsupported_parameter", sentence='"stream" is not for batches; leave it out'
        )
    if _ZERO.fullmatch(given.max_tokens):
        raise _RejectedError(
            code="unsupported_parameter", sentence='"max_tokens" is 0; put at least 1'
        )
    for name in unsupported_params(api_version):
        if bytes(getattr(given, name)) != b"null":
            sentence = (
                f'"{name}" is not taken in a batch (API version {api_version}); leave it out'
            )
            raise _RejectedError(code="unsupported_parameter", sentence=sentence)
    _check_members(given)
    return raw


def _check_members(given: _Params) -> None:
    """Refuse what is certain to fail: the API would say so of each row, a day later."""
    for name, instead in SDK_ARGUMENTS.items():
        if bytes(getattr(given, name)):
            sentence = f'"{name}" is an argument of the SDK, and the API refuses it in "params"; {instead}'
            raise _RejectedError(code="unsupported_parameter", sentence=sentence)
    for name in _NEEDED:
        if bytes(getattr(given, name)) == b"null":
            sentence = f'"{name}" is missing; "params" holds at least "model", "max_tokens" and "messages"'
            raise _RejectedError(code="missing_parameter", sentence=sentence)


@cache
def unsupported_params(api_version: str) -> tuple[str, ...]:
    """Name the parameters that no batch may have."""
    since = (names for version, names in _NOT_SINCE.items() if api_version >= version)
    return sum(since, _NOT_IN_A_BATCH)
