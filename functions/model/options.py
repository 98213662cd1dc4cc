"""Options: how uploads are read and sent, in TOML or JSON files beside the data.

``<upload>.relay.toml`` applies to one upload, ``_relay.toml`` for its folder and all folders below. The nearest file
wins, key by key. The file in the bucket's root has the defaults of the stack. docs/options.md lists every key.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from functions.settings import ApiVersion, Report

MAX_BYTES = 1 << 20
"""The maximum length of an options file. Long system prompts fit."""
MAX_KEY_BYTES = 1024
"""S3 answers a longer key with ``KeyTooLongError``, not with ``NoSuchKey``."""
_MAX_DEPTH = 100
_TOO_DEEP = f"nested deeper than {_MAX_DEPTH} levels; simplify it"
_SUFFIXES = ("relay.toml", "relay.json")
_ROOT_FILES = tuple(f"_{suffix}" for suffix in _SUFFIXES)
_NO_UPLOADS = (".toml", ".yaml", ".yml")
"""Suffixes of files that can only be meant as options, because no upload has them."""
_SHARES_ELSEWHERE = (
    f"`shares` limits whole folders; move it to {_ROOT_FILES[0]} in the root of the bucket"
)
Check = Literal[
    "unknown_model",
    "retired_model",
    "no_messages",
    "empty_message",
    "empty_text",
    "prefill_unsupported",
    "forced_tool_choice_unsupported",
    "max_tokens_too_large",
    "image_too_large",
    "document_too_large",
]
"""Rejection codes of the checks in `planning.preflight`, for rows that are certain to fail."""
_Sheet = Annotated[str, Meta(min_length=1, max_length=255)]
_Name = Annotated[str, Meta(min_length=1)]
_PilotRows = Annotated[int, Meta(ge=0, le=100_000)]
_Usd = Annotated[float, Meta(ge=0, le=10_000_000)]
_Beta = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_.-]{1,100}\Z")]
"""The values become a header. With a line feed in one, no request could be sent."""
_Folder = Annotated[str, Meta(pattern=r"\A[^/]+\Z")]
_AtLeastOne = Annotated[int, Meta(ge=1)]
_Factor = Annotated[float, Meta(ge=1, le=100)]
_MaxTokens = Annotated[int, Meta(ge=1, le=1_000_000)]
_Hours = Annotated[float, Meta(gt=0, le=8760)]
_EXAMPLES = {
    "api_version": "a version such as '2026-10-21'",
    "betas": "a name such as 'output-300k-2026-03-24'",
    "key": "the name of a top-level folder, without a slash",
}
"""Option with a pattern → what to write. msgspec calls the name of a share ``key``."""


class InvalidOptionsError(Exception):
    """An options file cannot be used; the message says why, and never quotes prompts."""


class RequestTemplate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A native request: a template for the rows of tables, defaults for rows that are requests themselves.

    Attributes:
        custom_id: the id of a row, with placeholders.
        params: the params. Strings may have placeholders: ``{{column}}``.
    """

    custom_id: str | None = None
    params: dict[str, Any] = {}


class ShareLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much the uploads below a top-level folder may have in flight; None for no limit.

    Attributes:
        open_batches: Message Batches.
        requests: requests in them.
    """

    open_batches: _AtLeastOne | None = None
    requests: _AtLeastOne | None = None


class RetryTruncated(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How rows are sent once more whose answers ended at `max_tokens`.

    Attributes:
        factor: how many times the `max_tokens` of the row; 1 for not at all.
        most: the largest `max_tokens` that this may lead to.
    """

    factor: _Factor = 2.0
    most: _MaxTokens = 32_000


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one upload is read and sent.

    Attributes:
        api_version: the header `anthropic-version`; None for the stack's.
        betas: values of the header `anthropic-beta`.
        models: model in the upload → Claude model; ``*`` matches every other name.
        sheet: the sheet of a workbook that is read; None for the first visible one.
        outputs: exports beside results.jsonl; None for those of the upload's format.
        on_unsupported: what happens to fields without a counterpart: ``drop`` or ``reject``.
        skip_checks: codes of the checks before sending that are turned off.
        priority: whether its batches are sent before or after those of other jobs.
        shares: top-level folder → its share; only in the file of the bucket's root.
        deadline_hours: hours after the claim at which the job is canceled; None for never.
        budget_usd: the most that the job may cost, in US dollars; 0 for no limit, None for the stack's.
        pilot_rows: the rows that are sent first, alone; 0 for no pilot.
        pilot_auto: whether the rest is sent without a go marker if the pilot allows it.
        equal_rows: ``once`` to send one request for rows whose params are equal; ``each`` to send all.
        retry_truncated: how rows are sent once more whose answers ended at `max_tokens`; None for not at all.
        report: what report.html contains; None for the stack's setting.
        warm_cache: whether the first row of each long prefix that rows share is sent before the others.
        request: the template.
    """

    api_version: ApiVersion | None = None
    betas: list[_Beta] = []
    models: dict[_Name, _Name] = {}
    sheet: _Sheet | None = None
    outputs: list[Literal["csv", "parquet", "openai", "bedrock"]] | None = None
    on_unsupported: Literal["drop", "reject"] = "drop"
    skip_checks: list[Check] = []
    priority: Literal["low", "normal", "high"] = "normal"
    shares: dict[_Folder, ShareLimits] = {}
    deadline_hours: _Hours | None = None
    budget_usd: _Usd | None = None
    pilot_rows: _PilotRows = 0
    pilot_auto: bool = False
    equal_rows: Literal["once", "each"] = "each"
    retry_truncated: RetryTruncated | None = None
    report: Report | None = None
    warm_cache: bool = False
    request: RequestTemplate = RequestTemplate()


def is_options_file(key: str) -> bool:
    """Return whether a key is the name of an options file. Such an object is not an upload."""
    name = key.rpartition("/")[2].lower()
    return any(name == f"_{suffix}" or name.endswith(f".{suffix}") for suffix in _SUFFIXES)


def name_problem(key: str) -> str | None:
    """Return why a file that is meant as options is not read; None if it is read, or is something else.

    S3 finds an object by its exact key, so the case of an options file's name counts.
    """
    name = key.rpartition("/")[2]
    if is_options_file(key):
        stem, ending = name[: -len(_SUFFIXES[0])], name[-len(_SUFFIXES[0]) :]
        right = stem + ending.lower()
        return None if name == right else f"upper and lower case count; rename it to {right}"
    if name.lower().endswith(_NO_UPLOADS):
        return (
            "its name is not that of an options file; rename it to _relay.toml for a folder, or to the upload's "
            "name and .relay.toml, such as march.csv.relay.toml"
        )
    return None


def options_file_keys(upload_key: str) -> Iterator[tuple[str, str]]:
    """Yield the keys of the options files that may govern an upload, the farthest first.

    Yields:
        The keys of the TOML file and of the JSON file for one folder or upload. Only one of them may exist.
    """
    folders = upload_key.split("/")[:-1]
    for depth in range(len(folders) + 1):
        folder = "".join(f"{name}/" for name in folders[:depth])
        yield f"{folder}_{_SUFFIXES[0]}", f"{folder}_{_SUFFIXES[1]}"
    own = f"{upload_key}.{_SUFFIXES[0]}", f"{upload_key}.{_SUFFIXES[1]}"
    if len(own[0].encode()) <= MAX_KEY_BYTES:
        yield own


def governs(options_key: str, upload_key: str) -> bool:
    """Return whether an options file may govern an upload."""
    return any(options_key in pair for pair in options_file_keys(upload_key))


def parse(key: str, text: bytes) -> dict[str, Any]:
    """Read one options file.

    Args:
        key: its key; the suffix decides between TOML and JSON.
        text: its content.

    Returns:
        Its keys and values, validated without the other files.

    Raises:
        InvalidOptionsError: it is not TOML or JSON, has an unknown key or a value of a wrong type, or sets shares in a
            folder, where a team could enlarge its own.
    """
    document = _decode(key, text)
    if not isinstance(document, dict):
        message = "not a JSON object; write the options as its members"
        raise InvalidOptionsError(message)
    _check_depth(document)
    options_of([document])
    _check_shares(key, document)
    return document


def _decode(key: str, text: bytes) -> Any:  # noqa: ANN401 - any TOML or JSON
    try:
        return _loads(key, text)
    except UnicodeDecodeError as error:
        message = (
            f"not UTF-8 text (first invalid byte at offset {error.start:,}); save it as UTF-8"
        )
    except tomllib.TOMLDecodeError as error:
        message = f"not valid TOML: {error}"
    except msgspec.DecodeError as error:
        message = f"not valid JSON: {error}"
    except RecursionError:
        message = _TOO_DEEP
    except ValueError:
        message = (
            "not valid TOML: a number has too many digits"  # tomllib lets Python's error pass
        )
    raise InvalidOptionsError(message)


def _loads(key: str, text: bytes) -> Any:  # noqa: ANN401 - any TOML or JSON
    if key.lower().endswith("toml"):
        return tomllib.loads(text.decode("utf-8-sig"))
    return msgspec.json.decode(text.removeprefix(b"\xef\xbb\xbf"))


def _check_shares(key: str, document: dict[str, Any]) -> None:
    """Raise if a file other than the bucket's sets shares."""
    if "shares" in document and key not in _ROOT_FILES:
        raise InvalidOptionsError(_SHARES_ELSEWHERE)


def _check_depth(document: dict[str, Any]) -> None:
    """Raise if a document is nested so deeply that filling the template would exhaust the stack."""
    level: list[Any] = [document]
    for _ in range(_MAX_DEPTH):
        members = [value.values() if isinstance(value, dict) else value for value in level]
        level = [inner for inner in chain(*members) if isinstance(inner, dict | list)]
    if level:
        raise InvalidOptionsError(_TOO_DEEP)


def options_of(documents: Sequence[Mapping[str, Any]]) -> Options:
    """Merge the contents of options files, the nearest last, and convert them.

    Raises:
        InvalidOptionsError: a key is unknown, or a value has a wrong type.
    """
    merged: dict[str, Any] = {}
    for document in documents:
        merged = _merge(merged, document)
    try:
        return msgspec.convert(merged, Options)
    except msgspec.ValidationError as error:
        raise InvalidOptionsError(_sentence(str(error))) from None


def _sentence(problem: str) -> str:
    """Return msgspec's message without its notation for paths and patterns."""
    problem = problem.replace("`$.", "`").replace(" - at", " at")
    return re.sub(
        r"`str` matching regex '.*'(?= at `(\w+))",
        lambda place: _EXAMPLES.get(place[1], place[0]),
        problem,
    )


def _merge(far: Mapping[str, Any], near: Mapping[str, Any]) -> dict[str, Any]:
    """Merge the contents of two files, key by key. A list of the nearer file replaces the other one."""
    merged = {**far, **near}
    for name, value in far.items():
        if isinstance(value, dict) and isinstance(near.get(name), dict):
            merged[name] = _merge(value, near[name])
    return merged
