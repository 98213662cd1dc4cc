"""Fill a request template with the columns of a row: plain replacement of ``{{column}}``, no template engine."""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import msgspec

from functions.model.options import RequestTemplate

_PLACEHOLDER = re.compile(r'\{\{\s*("\{\{"|"\}\}"|[^{}]*?)\s*\}\}')
_BRACES = {'"{{"': "{{", '"}}"': "}}"}
"""Placeholders for literal braces."""


def columns_of(template: RequestTemplate) -> set[str]:
    """Return the columns that a template names."""
    texts = [template.custom_id or "", *_strings(template.params)]
    return {name for text in texts for name in _columns(text)}


def _columns(text: str) -> set[str]:
    return {*_PLACEHOLDER.findall(text)} - {*_BRACES}


def unknown_columns(template: RequestTemplate, columns: Collection[str]) -> list[str]:
    """Return the columns that a template names and an upload does not have, sorted.

    Args:
        template: the template.
        columns: the columns of the upload. ``a.b`` is known if ``a`` is.
    """
    known = {*columns}
    return sorted(
        name
        for name in columns_of(template)
        if name not in known and name.partition(".")[0] not in known
    )


class FilledTooLongError(Exception):
    """The columns that a template repeats are longer together than a row may be."""


class _CharBudget:
    """Counts the characters that placeholders become, before the texts are joined."""

    def __init__(self, max_chars: int | None) -> None:
        self._left = max_chars

    def spend(self, text: str) -> str:
        """Return the text.

        Raises:
            FilledTooLongError: there are more characters than the limit.
        """
        if self._left is not None:
            self._left -= len(text)
            if self._left < 0:
                raise FilledTooLongError
        return text


def fill(
    template: RequestTemplate, row: Mapping[str, Any], max_chars: int | None = None
) -> tuple[str | None, dict[str, Any]]:
    """Return the custom_id and the params of a row. A missing column or an empty cell becomes empty text.

    There is no custom_id if it names a column that this row lacks.

    Args:
        template: the template.
        row: column → value. Objects and lists become compact JSON.
        max_chars: the most characters that placeholders may become, all together; None for no limit.

    Raises:
        FilledTooLongError: they would become more. A template may repeat a large cell any number of times.
    """
    budget = _CharBudget(max_chars)

    def text_of(match: re.Match[str]) -> str:
        name = match[1]
        return budget.spend(_BRACES.get(name) or _text(_value(row, name)))

    def filled(value: Any) -> Any:  # noqa: ANN401 - any JSON value
        match value:
            case str():
                return _PLACEHOLDER.sub(text_of, value) if "{{" in value else value
            case dict():
                return {name: filled(member) for name, member in value.items()}
            case list():
                return [filled(element) for element in value]
        return value

    params: dict[str, Any] = filled(template.params)
    own = template.custom_id
    known = own is not None and all(_value(row, name) is not None for name in _columns(own))
    return (filled(own) if known else None), params


def _strings(value: Any) -> Iterator[str]:  # noqa: ANN401 - any JSON value
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for member in value.values() if isinstance(value, dict) else value:
            yield from _strings(member)


def _value(row: Mapping[str, Any], name: str) -> Any:  # noqa: ANN401 - any JSON value
    """Return a column's value, or that of a dotted path into a JSON record; None if there is none."""
    if name in row:
        return row[name]
    value: Any = row
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _text(value: Any) -> str:  # noqa: ANN401 - any JSON value
    if isinstance(value, str):
        return value
    return "" if value is None else msgspec.json.encode(value).decode()
