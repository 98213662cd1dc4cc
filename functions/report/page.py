"""Build report.html: one file of at most 5 MB that loads nothing.

The policy allows one style and one script, by their hashes. So what a prompt or an answer contains can neither run nor
load anything, even if an escape were missing.
"""

import hashlib
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

import msgspec

from functions.report import sections
from functions.report.excerpts import ErrorGroup, ReportRow
from functions.report.html import Html, element, joined

MAX_BYTES = 5_000_000
"""The most bytes of a page."""
MAX_TABLE_BYTES = 2_000_000
"""The most bytes of the first rows, and of the rows that did not succeed. All else has far less than 1 MB."""


class ReportData(msgspec.Struct, frozen=True, kw_only=True):
    """What a page shows.

    Attributes:
        manifest: the manifest of the job. Every figure that it has is taken from it.
        location: the URI of the results folder.
        has_content: whether the page may contain prompts, answers, custom_ids and sentences of the API.
        input_sizes: answers by the binary digits of their number of input tokens.
        output_sizes: likewise of output tokens.
        progress: rows by outcome that became final, in equal parts of the job's time.
        errors: the rows that did not succeed, by error.
        first_rows: the first rows, in order.
        failed_rows: the first rows that did not succeed, in order.
        prompts: row → its prompt.
    """

    manifest: Mapping[str, Any]
    location: str
    has_content: bool
    input_sizes: Mapping[str, int]
    output_sizes: Mapping[str, int]
    progress: Sequence[Mapping[str, int]]
    errors: Sequence[ErrorGroup]
    first_rows: Sequence[ReportRow] = ()
    failed_rows: Sequence[ReportRow] = ()
    prompts: Mapping[int, str] = {}


def render(data: ReportData) -> bytes:
    """Return the page. The same data are the same bytes."""
    manifest = data.manifest
    style, script = _file("report.css"), _file("report.js")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_policy(style, script)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("meta", name="robots", content="noindex"),
        element("link", rel="icon", href="data:,"),
        element("title", f"{manifest['name']}: {manifest['outcome']}"),
        element("style", Html(style)),
    )
    main = element(
        "main",
        sections.headline(manifest),
        sections.tiles(manifest),
        sections.notes(manifest),
        sections.outcomes(manifest),
        sections.errors(data.errors, has_content=data.has_content),
        sections.time(manifest, data.progress),
        sections.cost(manifest),
        sections.tokens(manifest, data.input_sizes, data.output_sizes),
        _table(data) if data.has_content else sections.NO_CONTENT,
        sections.files(manifest, data.location),
    )
    body = element("body", main, element("script", Html(script)))
    page = joined(Html("<!doctype html>\n"), element("html", head, body, lang="en"), Html("\n"))
    return page.encode()


def _policy(style: str, script: str) -> str:
    return (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'"
    )


def _digest(content: str) -> str:
    return "sha256-" + b64encode(hashlib.sha256(content.encode()).digest()).decode()


@cache
def _file(name: str) -> str:
    return resources.files("functions.report").joinpath(name).read_text("utf-8")


def _table(data: ReportData) -> Html:
    """Return the table of rows: as many of the first ones, and of those that did not succeed, as fit."""
    first = dict(_fitting(data.first_rows, data.prompts))
    failed = dict(_fitting(data.failed_rows, data.prompts))
    lines = first | failed
    return sections.rows(
        [lines[row] for row in sorted(lines)], len(first), len(failed), data.manifest
    )


def _fitting(rows: Iterable[ReportRow], prompts: Mapping[int, str]) -> Iterator[tuple[int, Html]]:
    size = 0
    for row in rows:
        line = sections.row_line(row, prompts.get(row.row, ""))
        size += len(line.encode())
        if size > MAX_TABLE_BYTES:
            return
        yield row.row, line
