"""Turn rows that are not native requests into requests: fill a template, or translate another batch API.

Validation sees only native requests. A row that cannot be converted is rejected with a sentence, like any other.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from functions.errors import UNREADABLE_JSON
from functions.model.options import Options
from functions.model.rows import LineBlock, Record, Rejection, Row
from functions.planning.json_faults import MAX_ID_BYTES, NULL
from functions.planning.templates import FilledTooLongError, fill
from functions.planning.validation import MAX_VALUES, NO_PARAMS, has_too_many_values
from functions.readers import records_of
from functions.translations import TRANSLATIONS
from functions.translations.contract import NotTranslatableError, Policy, Translated

NATIVE, TEMPLATE = "native", "template"
"""Kinds of rows besides those in `TRANSLATIONS`: requests of the Message Batches API, and records for a template."""
_ID_NAMES = ("custom_id", "customId", "id", "recordId", "key")
"""Members of a row that serve as its custom_id. The first one that holds a string or a number wins."""
_row = msgspec.json.Decoder(dict[str, Any])
Converter = Callable[[Mapping[str, Any]], Translated]


def converter_of(
    kind: str,
    options: Options,
    api_version: str,
    capability_list: str | None = None,
    row_bytes: int | None = None,
) -> Converter | None:
    """Return the function that converts the rows of one upload; None if they are sent byte for byte.

    Args:
        kind: `NATIVE`, `TEMPLATE` or a key of `TRANSLATIONS`.
        options: the options of the upload.
        api_version: the value of the `anthropic-version` header.
        capability_list: the version of the list that says what each model accepts; None for the newest.
        row_bytes: the maximum length of a row in bytes, and of the text that a template repeats; None for no limit.
    """
    defaults = options.request.params
    if kind == TEMPLATE:
        return lambda row: _fill(row, options, row_bytes)
    if kind == NATIVE:
        return (lambda row: _with_defaults(row, defaults)) if defaults else None
    translation = TRANSLATIONS[kind]
    policy = Policy(
        models=options.models,
        api_version=api_version,
        reject_unsupported=options.on_unsupported == "reject",
        capability_list=capability_list,
    )

    def translate(row: Mapping[str, Any]) -> Translated:
        translated = translation.translate(row, policy)
        params = {**defaults, **translated.params}
        return msgspec.structs.replace(translated, params=params)

    return translate


def convert_all(
    pieces: Iterator[LineBlock | Record],
    convert: Converter,
    validate: Callable[..., Row],
    row_bytes: int,
) -> Iterator[tuple[Record, Row]]:
    """Convert and validate everything that a reader yields, in order.

    Args:
        pieces: line blocks and records of one upload.
        convert: the function that converts one row.
        validate: the function that validates a native request.
        row_bytes: the maximum length of a row in bytes.
    """
    for record in records_of(pieces, row_bytes):
        yield record, _convert(record, convert, validate)


def _convert(record: Record, convert: Converter, validate: Callable[..., Row]) -> Row:
    row = parse_row(record)
    if row is None:
        return _without_request(record, convert, validate(record))
    try:
        translated = convert(row)
        request = {"custom_id": translated.custom_id, "params": translated.params}
        data = msgspec.json.encode(request)
    except NotTranslatableError as error:
        return _rejected(record, _raw_id_of(row), error.code, str(error))
    except RecursionError:
        return _rejected(record, _raw_id_of(row), "too_deep", "the JSON is nested too deeply")
    native = msgspec.structs.replace(record, data=data)
    checked = validate(native, betas=translated.betas)
    if checked.rejection is not None:
        return checked
    return msgspec.structs.replace(
        checked, betas=tuple(sorted({*translated.betas})), changes=translated.changes
    )


def _rejected(record: Record, custom_id: msgspec.Raw, code: str, sentence: str) -> Row:
    return Row(custom_id, None, Rejection(code, f"line {record.line}: {sentence}", record.line))


def _without_request(record: Record, convert: Converter, checked: Row) -> Row:
    """Reject a row that cannot be parsed. Validation says why, but it does not parse all of params."""
    if record.fault is not None:
        known = _decode(record.data)
        return checked if known is None else _with_id(checked, known, convert)
    if checked.rejection is not None and checked.rejection.code != "no_params":
        return checked
    if has_too_many_values(record.data or b""):
        code = "too_many_values"
        sentence = f"the row has more than {MAX_VALUES:,} commas and brackets; make it smaller"
    else:
        code = "number_too_large"
        sentence = "a number is too large to be read; write it as a string or with fewer digits"
    return _rejected(record, checked.custom_id, code, sentence)


def _with_id(rejected: Row, known: Mapping[str, Any], convert: Converter) -> Row:
    """Return a row that its reader rejected with its custom_id, if the members that are certain show it."""
    try:
        custom_id = convert(known).custom_id
    except (NotTranslatableError, RecursionError):
        custom_id = _id_of(known)
    raw = msgspec.Raw(msgspec.json.encode(custom_id))
    return msgspec.structs.replace(rejected, custom_id=raw if len(raw) <= MAX_ID_BYTES else NULL)


def parse_row(record: Record) -> dict[str, Any] | None:
    """Return a record as an object; None if it is broken, too large or not an object."""
    return None if record.fault is not None else _decode(record.data)


def _decode(data: bytes | None) -> dict[str, Any] | None:
    if data is None or has_too_many_values(data):
        return None
    try:
        return _row.decode(data)
    except UNREADABLE_JSON:
        return None


def _fill(row: Mapping[str, Any], options: Options, row_bytes: int | None) -> Translated:
    try:
        custom_id, params = fill(options.request, row, row_bytes)
    except FilledTooLongError:
        sentence = (
            f"the columns that the template names are longer together than {row_bytes:,} bytes, the limit of "
            "a row; name a large column once, shorten it or raise the setting rowBytes"
        )
        raise NotTranslatableError(code="too_long", sentence=sentence) from None
    return Translated(custom_id=_id_of(row) if custom_id is None else custom_id, params=params)


def _with_defaults(row: Mapping[str, Any], defaults: Mapping[str, Any]) -> Translated:
    """Complete a native request. Its own params win, key by key.

    Raises:
        NotTranslatableError: it has no params. The defaults alone would be sent without its content.
    """
    own = row.get("params")
    if not isinstance(own, dict):
        raise NotTranslatableError(code="no_params", sentence=NO_PARAMS)
    return Translated(custom_id=_id_of(row), params={**defaults, **own})


def _id_of(row: Mapping[str, Any]) -> str | int | float | None:
    candidates = (row.get(name) for name in _ID_NAMES)
    usable = (value for value in candidates if isinstance(value, str | int | float))
    return next((value for value in usable if not isinstance(value, bool)), None)


def _raw_id_of(row: Mapping[str, Any]) -> msgspec.Raw:
    """Return the row's custom_id as JSON; ``null`` if it has none, or one that is too long."""
    custom_id = msgspec.json.encode(_id_of(row))
    return NULL if len(custom_id) > MAX_ID_BYTES else msgspec.Raw(custom_id)
