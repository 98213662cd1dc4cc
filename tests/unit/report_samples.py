"""Data of reports, as assembling gathers them: a job of support tickets, and a hostile one."""

import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from functions.model import timestamps
from functions.model.output_lines import output_line, read_output_lines
from functions.report.excerpts import ReportRow, group_errors, read_row
from functions.report.page import ReportData

BEGIN = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
HAIKU, SONNET = "claude-haiku-5-5", "claude-sonnet-5-5"
LOCATION = "s3://relay-results/results/support/tickets-november/3f9ac21b04d7c1e89a02"
_TICKETS = (
    ("My parcel has been at the depot for nine days, and tracking stopped.", "shipping, negative, urgent: parcel stuck at the depot; ask the carrier for a trace."),
    ("Die Rechnung nennt die falsche Umsatzsteuer-ID. Bitte korrigieren.", "billing, neutral: the invoice needs another VAT id; send a corrected one."),
    ("Thank you! The replacement works, and your colleague was very kind.", "praise, positive: nothing to do."),
    ("I can't log in since the update. The code never arrives.", "account, negative, urgent: two-factor codes do not arrive after the update."),
    ("هل يمكنني تغيير عنوان التسليم بعد الشحن؟", "shipping, neutral: asks to change the address after dispatch; possible until 18:00."),
    ("¿Cuándo se paga el reembolso de un artículo devuelto?", "refund, neutral: asks when the refund of a returned item is paid."),
)  # fmt: skip


def at(minutes: float) -> str:
    return timestamps.text(BEGIN + timedelta(minutes=minutes))


def line(row: int, result: dict[str, Any], custom_id: Any = None) -> ReportRow:
    """Return a row of results.jsonl as the report shows it."""
    encoded_id = msgspec.json.encode(f"ticket-{row}" if custom_id is None else custom_id)
    text = output_line(row, encoded_id, msgspec.json.encode(result))
    return read_row(read_output_lines(text.rstrip(b"\n"))[0])


def answered(answer: str, stop: str = "end_turn", tokens: tuple[int, int] = (412, 38)) -> Any:
    usage = {"input_tokens": tokens[0], "output_tokens": tokens[1]}
    content = [{"type": "text", "text": answer}] if answer else []
    message = {"model": HAIKU, "content": content, "stop_reason": stop, "usage": usage}
    return {"type": "succeeded", "message": message}


def errored(error: str, message: str) -> Any:
    inner = {"type": error, "message": message}
    return {"type": "errored", "error": {"type": "error", "error": inner}}


def manifest(**changes: Any) -> dict[str, Any]:
    """Return the manifest of a job that took 74 minutes and succeeded in most rows."""
    batches = [*_batches()]
    files = {"results": ("results.jsonl", 31_400_512), "errors": ("errors.jsonl", 118_204), "retry": ("retry.csv", 96_311), "results.csv": ("results.csv", 9_800_113)}  # fmt: skip
    return {
        "job": "3f9ac21b04d7c1e89a02", "name": "tickets-november-3f9ac21b", "outcome": "partial", "reason": None,
        "upload": {"bucket": "relay-uploads", "key": "support/tickets-november.csv", "version": "v1", "size_bytes": 7_214_002},
        "times": {"uploaded_at": at(-1), "claimed_at": at(0), "ended_at": at(74), "canceled_at": None, "deadline_at": None},
        "rows": 120_000,
        "counts": {"succeeded": 119_412, "errored": 231, "expired": 96, "rejected": 261},
        "errors": {"invalid_request_error": 207, "overloaded_error": 24, "blank_cell": 261},
        "stop_reasons": {"end_turn": 118_930, "max_tokens": 402, "refusal": 80}, "empty_answers": 80, "truncated": 402,
        "usage": {
            HAIKU: {"input_tokens": 21_030_114, "cache_creation_input_tokens": 90_412, "cache_read_input_tokens": 38_211_870, "output_tokens": 4_310_227},
            SONNET: {"input_tokens": 2_040_901, "output_tokens": 610_004},
        },
        "cost_usd": 37.240118, "cost_usd_known": 37.240118,
        "cost_usd_by_model": {HAIKU: 29.603316, SONNET: 7.636802},
        "cost_usd_by_kind": {
            HAIKU: {"input": 15.772586, "cache_write": 0.084761, "cache_read": 2.865890, "output": 10.880079},
            SONNET: {"input": 3.061352, "output": 4.575450},
        },
        "saved_usd": {"batch_price": 37.240118, "caching": 25.776612},
        "prices": {"version": "2026-11-01", "source": "", "problem": None},
        "estimate": {"cost_usd": {"low": 28.1, "expected": 35.9, "worst": 210.4}, "off_by": 0.037},
        "batches": batches,
        "retry": {"complete": True, "rows": 588, "missing_rows": 0, "reason": None},
        "exports": {"complete": True, "reason": None},
        "files": {name: {"uri": f"{LOCATION}/{file}", "size_bytes": size, "crc32": "0badc0de"} for name, (file, size) in files.items()},
        **changes,
    }  # fmt: skip


def _batches() -> Iterator[dict[str, Any]]:
    rng = random.Random(19)  # noqa: S311 - a sample
    for number in range(12):
        created = 1 + number * 1.5 + rng.random()
        took = 18 + 22 * rng.random()
        yield batch(number, 1, created, created + took)
    for number, created in ((3, 46.0), (8, 49.5)):
        yield batch(number, 2, created, created + 21)


def batch(number: int, attempt: int, created: float, ended: float) -> dict[str, Any]:
    first = number * 10_000 + 1
    return {
        "batch": f"{number + 1:05}-{attempt}", "chunk": f"{number + 1:05}", "attempt": attempt,
        "batch_id": f"msgbatch_01Hk{number:02}Qw{attempt}", "status": "COLLECTED", "rows": [first, first + 9_999],
        "requests": 10_000 if attempt == 1 else 312, "created_at": at(created), "ended_at": at(ended),
    }  # fmt: skip


def tickets(rows: int = 120) -> ReportData:
    """Return the report of the job of support tickets."""
    shown = [line(row, _ticket_result(row)) for row in range(1, rows + 1)]
    failed = [row for row in shown if row.outcome != "succeeded"]
    later = [line(row, _ticket_error(row)) for row in range(4_007, 4_280, 7)]
    told = manifest()
    counts = told["errors"] | {"expired": 96}
    progress: list[dict[str, int]] = [{} for _ in range(48)]
    for number, entry in enumerate(told["batches"]):
        minutes = (timestamps.parse(entry["ended_at"]) - BEGIN).total_seconds() / 60
        ended = (
            {"succeeded": 9_931}
            if number < 12
            else {"succeeded": 240, "errored": 110, "expired": 48}
        )
        part = progress[min(int(minutes / 74 * 48), 47)]
        part |= {name: part.get(name, 0) + count for name, count in ended.items()}
    return ReportData(
        manifest=told,
        location=LOCATION,
        has_content=True,
        input_sizes={"8": 2_104, "9": 88_310, "10": 27_400, "11": 1_540, "12": 58},
        output_sizes={"0": 80, "4": 2_110, "5": 41_008, "6": 70_301, "7": 5_511, "11": 402},
        progress=progress,
        errors=group_errors(counts, [*failed, *later]),
        first_rows=shown,
        failed_rows=[*failed, *later],
        prompts={row.row: _TICKETS[row.row % len(_TICKETS)][0] for row in (*shown, *later) if row.outcome != "rejected"},
    )  # fmt: skip


def _ticket_result(row: int) -> Any:
    if row % 41 == 0:
        return _ticket_error(row)
    if row % 53 == 0:
        return answered(
            "shipping, negative: the customer writes that the third parcel in a row", "max_tokens"
        )
    if row % 97 == 0:
        return answered("", "refusal", (390, 0))
    return answered(_TICKETS[row % len(_TICKETS)][1], tokens=(380 + row % 90, 24 + row % 31))


def _ticket_error(number: int) -> Any:
    return (
        {"type": "rejected", "error": {"code": "blank_cell", "message": f"line {number + 1}: the column `text` is blank; write a text, or remove the row", "line": number + 1}},
        errored("invalid_request_error", "messages.0.content: text content blocks must be non-empty"),
        errored("overloaded_error", "Overloaded"),
        {"type": "expired"},
    )[number % 4]  # fmt: skip


HOSTILE: dict[str, str] = {
    "script": "<script>window.pwned = 1</script>",
    "end of the script": "</script><script>window.pwned = 2</script>",
    "end of the style": "</style><style>body{display:none}</style>",
    "comment": "<!--<script>",
    "image": "<img src=x onerror='window.pwned=3'>",
    "link": "javascript:window.pwned=4",
    "anchor": '<a href="javascript:window.pwned=5" id="query">click</a>',
    "attribute": '" onmouseover="window.pwned=6" x=\'',
    "meta": '<meta http-equiv="refresh" content="0;url=https://evil.example/">',
    "frame": "<iframe srcdoc='<script>parent.pwned=7</script>'></iframe>",
    "svg": "<svg onload=window.pwned=8><style>@import 'https://evil.example/a.css'</style></svg>",
    "entity": "&lt;script&gt;&#0;&amp;",
    "right to left": "safe\u202ecod.exe\u2066\u200f\u061c",
    "NUL and controls": "a\x00b\x1b[31mc\x7f\x85d",
    "emoji": "👩‍👩‍👧‍👦🏳️‍🌈 e\u0301 \U000e0001",
    "template": "${alert(1)} {{constructor.constructor('alert(1)')()}}",
    "a megabyte": "A<&\"'" * 200_000,
    "one long word": "W" * 1_000,
    "lines": "\n" * 300 + "end",
}
"""What prompts, answers, custom_ids and sentences may contain."""


def hostile() -> ReportData:
    """Return a report in which every text of an upload or of the API is hostile."""
    from functions.report.excerpts import prompt_of  # noqa: PLC0415 - used only here

    texts = [*HOSTILE.values()]
    shown: list[ReportRow] = []
    for row, text in enumerate(texts, 1):
        result = answered(text) if row % 2 else errored("invalid_request_error", text)
        shown.append(line(row, result, custom_id=text))
    failed = [row for row in shown if row.outcome != "succeeded"]
    script = HOSTILE["end of the script"]
    told = manifest(
        name=script, reason=HOSTILE["image"], rows=len(texts), errors={script: 3, "invalid_request_error": len(failed)},
        counts={"succeeded": len(texts) - len(failed), "errored": len(failed), script: 1},
        stop_reasons={script: 1}, usage={script: {"input_tokens": 1, "output_tokens": 1}},
        cost_usd_by_kind={script: {"input": 0.1}}, prices={"version": script, "source": "", "problem": script},
        upload={"bucket": "relay-uploads", "key": f"in/{script[:60]}.jsonl", "version": "v1", "size_bytes": 1},
    )  # fmt: skip
    params = {
        row.row: msgspec.json.encode({"messages": [{"role": "user", "content": text}]})
        for row, text in zip(shown, texts, strict=True)
    }
    return ReportData(
        manifest=told,
        location=LOCATION,
        has_content=True,
        input_sizes={"1": 1},
        output_sizes={"1": 1},
        progress=[{script: 1}],
        errors=group_errors(told["errors"], failed),
        first_rows=shown,
        failed_rows=failed,
        prompts={row: prompt_of(text) for row, text in params.items()},
    )


def many(rows: Sequence[int], text: str) -> ReportData:
    """Return a report of these rows, all failed, whose texts are as long as can be."""
    failed = [line(row, errored("invalid_request_error", text), custom_id=text) for row in rows]
    data = tickets(0)
    return msgspec.structs.replace(
        data,
        first_rows=failed[:1000],
        failed_rows=failed[-1000:],
        prompts={row.row: text[:300] for row in failed},
    )
