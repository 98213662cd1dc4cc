"""`relay check`: validate files and estimate their cost, before anything is uploaded."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from cli import checking, invocation
from cli.checking import SETTINGS, Checked, RejectedRows
from cli.errors import ExitCode, NotFoundError, UsageError
from cli.local_files import check_exists, check_file_names
from cli.output import Output, name_value_table
from functions.adapters.anthropic_api import Claude
from functions.adapters.secret import NAME
from functions.model.expected_cost import UNKNOWN_WORST
from functions.model.nouns import count_of
from functions.planning.shared_prefixes import LIFETIME_CHANGE

BASE_URL = "ANTHROPIC_BASE_URL"
_CENT = 0.01


def check(
    context: typer.Context,
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE", help="JSON Lines, CSV, Excel or another format of docs/formats.md."
        ),
    ],
    *,
    options: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The options file, instead of the one beside the file."),
    ] = None,
    count_tokens: Annotated[
        bool,
        typer.Option(
            "--count-tokens",
            help=f"Count the tokens of 50 rows with the key in {NAME}. This is free, but sends them to Anthropic.",
        ),
    ] = False,
) -> None:
    """Validate files and estimate their cost, without sending them.

    This needs no AWS. The exit code is 1 if a row would not be sent.
    """
    check_file_names(files)
    for file in files:
        check_exists(file)
    output = invocation.of(context).output
    if options is not None and not options.is_file():
        message = f"there is no options file {options}"
        raise NotFoundError(message)
    claude = _claude() if count_tokens else None
    results = [_check(file, options, claude, output) for file in files]
    output.show({"files": results}, *(part for each in results for part in _shown(each)))
    if not all(each.is_fully_sendable for each in results):
        raise typer.Exit(ExitCode.FAILURES)


def _check(file: Path, options: Path | None, claude: Claude | None, output: Output) -> Checked:
    size = file.stat().st_size if file.is_file() else 0
    with output.progress() as progress:
        task = progress.add_task(f"checking {file.name}", total=size)
        return checking.check(
            file,
            options=options,
            claude=claude,
            # Some blocks are read more than once.
            on_read=lambda count: progress.advance(
                task, min(count, size - progress.tasks[0].completed)
            ),
        )


def _claude() -> Claude:
    key = os.environ.get(NAME)
    if not key:
        message = f"--count-tokens needs an API key: set {NAME}, or leave the option out"
        raise UsageError(message)
    return Claude(
        base_url=os.environ.get(BASE_URL, SETTINGS.base_url),
        api_version=SETTINGS.api_version,
        read_key=lambda _fresh: key,
    )


def _shown(checked: Checked) -> Iterator[Any]:
    yield f"{checked.file}: {_verdict(checked)}"
    yield name_value_table((f"  {name}", text) for name, text in _facts(checked))
    if checked.example is not None:
        yield checked.example
    yield ""


def _verdict(checked: Checked) -> str:
    if not checked.rows:
        return "would wait" if checked.waiting_for else "would not be read"
    rejected = checked.rows - checked.requests - checked.copies
    if checked.waiting_for:
        what = "would be held"
    else:
        what = f"would be sent in {count_of(checked.batches, 'batch')}"
    return f"{count_of(checked.rows, 'row')}, {rejected:,} rejected; {checked.requests:,} {what}"


def _facts(checked: Checked) -> Iterator[tuple[str, str]]:
    """Yield the lines about a file: a name and a value."""
    facts = (
        ("failure", checked.failure and checked.failure.partition("; results.jsonl")[0]),
        ("waits", checked.message),
        ("read as", checked.format and f"{checked.format}; {checked.row_kind} rows"),
        ("options", "\n".join(checked.options) or ("none" if checked.format else None)),
        (
            "pilot",
            checked.pilot_rows
            and f"{count_of(checked.pilot_rows, 'row')} would be sent first, alone",
        ),
        (
            "equal",
            checked.copies
            and f"{count_of(checked.copies, 'row')} would share the request of an earlier row",
        ),
        *(("rejected", _rejected(code, rows)) for code, rows in checked.rejected.items()),
        *(
            ("changed", f"{name}: {_change(name)} in {count_of(count, 'row')}")
            for name, count in checked.changed_fields.items()
        ),
        *(("notice", notice) for notice in checked.notices),
        ("cost", checked.estimate and _cost(checked.estimate)),
    )
    return ((name, str(text)) for name, text in facts if text)


def _change(name: str) -> str:
    return "raised by warm_cache" if name == LIFETIME_CHANGE else "dropped or changed"


def _rejected(code: str, rejected: RejectedRows) -> str:
    return "\n".join(
        [f"{code}: {count_of(rejected.rows, 'row')}", *(f"- {why}" for why in rejected.messages)]
    )


def _cost(figures: dict[str, Any]) -> str:
    cost = figures["cost_usd"]
    if cost["worst"] is None:
        return f"unknown: {UNKNOWN_WORST}"
    counted = figures["counted_rows"]
    basis = (
        f"input tokens counted in {count_of(counted, 'row')}"
        if counted
        else "input by bytes, at worst a token each"
    )
    tokens = (
        f"{figures['input_tokens']:,} tokens in, at most {figures['output_tokens']['worst']:,} out"
    )
    worst = f"${cost['worst']:,.2f}" if cost["worst"] >= _CENT else "one cent"
    return (
        f"at most {worst} if each answer takes its max_tokens ({tokens}; {basis}); "
        "low and expected are known once earlier jobs of the folder are answered"
    )
