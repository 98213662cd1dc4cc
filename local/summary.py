"""Summarize a job at the end of the demo: answers, rows without one, cost, time and paths."""

import json
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError
from botocore.response import StreamingBody

from functions.model.chunk_files import LedgerEntry, read_all
from functions.model.nouns import count_of, dollars
from functions.model.output_lines import read_output_lines
from functions.model.streams import line_blocks
from functions.model.timestamps import parse
from functions.report.excerpts import ReportRow, prompt_of, read_row, shorten
from local.environment import LocalEnvironment
from local.started_job import StartedJob

ANSWERS, FAILED_ROWS = 3, 5
FIRST_ROWS = 1000
"""Answers are chosen among this many rows."""
FIRST_BATCH = "00001-1"
TEXT_CHARS = 66
MAX_PARAMS_BYTES = 256_000
"""The question of a longer request is not read."""


@dataclass(frozen=True)
class Exchange:
    """A question and its answer, each shortened to a line."""

    row: int
    question: str
    answer: str


def summary(environment: LocalEnvironment, job: StartedJob, folder: Path) -> str:
    """Return a summary of a job that has ended.

    Args:
        environment: where it ran.
        job: the job.
        folder: its downloaded results.
    """
    data: Mapping[str, Any] = (job.final_event or {}).get("data", {})
    manifest: Mapping[str, Any] = json.loads((folder / "manifest.json").read_bytes())
    counts = counted(data.get("counts", {})) or "nothing was read"
    lines = (
        "",
        *_answers(exchanges(environment, job, folder)),
        *_failed(folder),
        f"{job.name}: {job.outcome}, {count_of(data.get('rows', 0), 'row')}: {counts}",
        *_explanations(data, manifest),
        f"answers  {data.get('empty_answers', 0):,} empty, {data.get('truncated', 0):,} truncated",
        f"cost     {_cost(manifest)}{_bill(environment, manifest)}",
        f"time     {_seconds(manifest['times'])}",
        f"in S3    s3://{environment.outputs['ResultsBucket']}/{job.folder}/",
        f"here     {_short(folder)}/",
        *(f"report   {_short(path)}" for path in [folder / "report.html"] if path.exists()),
        f"files    {', '.join(_files_in(folder))}",
    )
    return "\n".join(lines)


def counted(counts: Mapping[str, int]) -> str:
    """Return counts by name as a list."""
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())


def exchanges(environment: LocalEnvironment, job: StartedJob, folder: Path) -> list[Exchange]:
    """Return the first, the middle and the last answer among the first rows, with their questions.

    Rows without a request of their own, because they equal another, are not chosen.
    """
    rows = [
        row
        for row in islice(_read_rows(folder / "results.jsonl"), FIRST_ROWS)
        if row.outcome == "succeeded" and "empty" not in row.flags
    ]
    requests = _Requests(environment, job)
    sent = requests.entries({row.row for row in rows})
    chosen = [*_spread([row for row in rows if row.row in sent] or rows, ANSWERS)]
    questions = {row.row: requests.question(sent[row.row]) for row in chosen if row.row in sent}
    return [
        Exchange(row.row, _one_line(questions.get(row.row, "…")), _one_line(row.answer))
        for row in chosen
    ]


def _spread(rows: Sequence[ReportRow], number: int) -> Iterator[ReportRow]:
    """Yield rows as far from each other as possible, from the first to the last."""
    indexes = {index * (len(rows) - 1) // (number - 1) for index in range(number)} if rows else ()
    yield from (rows[index] for index in sorted(indexes))


class _Requests:
    """The first chunk of a job, as it was sent first."""

    def __init__(self, environment: LocalEnvironment, job: StartedJob) -> None:
        self._cloud, self._outputs = environment.cloud, environment.outputs
        key: Any = {"job": {"S": job.id}, "item": {"S": FIRST_BATCH}}
        table = self._outputs["TableName"]
        self._batch = self._cloud.tables.get_item(TableName=table, Key=key).get("Item")

    def entries(self, rows: set[int]) -> dict[int, LedgerEntry]:
        """Return those of the rows that have a request; none if a work file is gone."""
        if self._batch is None:
            return {}
        try:
            blocks = self._read("ledger_key").iter_chunks()
            return {entry.row: entry for entry in _entries(blocks, rows)}
        except ClientError:
            return {}

    def question(self, entry: LedgerEntry) -> str:
        """Return the last message of a request; an ellipsis if the work file is gone."""
        last = entry.params_offset + entry.params_size - 1
        try:
            return prompt_of(
                self._read("requests_key", f"bytes={entry.params_offset}-{last}").read()
            )
        except ClientError:
            return "…"

    def _read(self, name: str, byte_range: str = "bytes=0-") -> StreamingBody:
        key = (self._batch or {})[name]["S"]
        bucket = self._outputs["ResultsBucket"]
        return self._cloud.s3.get_object(Bucket=bucket, Key=key, Range=byte_range)["Body"]


def _entries(blocks: Iterable[bytes], rows: set[int]) -> Iterator[LedgerEntry]:
    last = max(rows, default=0)
    for entry in read_all(line_blocks(blocks)):
        if entry.row > last:
            return
        if entry.row in rows and entry.sent and entry.params_size <= MAX_PARAMS_BYTES:
            yield entry


def _answers(shown: Sequence[Exchange]) -> Iterator[str]:
    if not shown:
        return
    yield f"{count_of(len(shown), 'answer')} of results.jsonl"
    for exchange in shown:
        yield f"  {f'row {exchange.row:,}':<8} {exchange.question}"
        yield f"  {'':<7}→ {exchange.answer}"
    yield ""


def _failed(folder: Path) -> Iterator[str]:
    """Yield the first rows without an answer, each with its sentence."""
    path = folder / "errors.jsonl"
    rows = _read_rows(path) if path.exists() else iter(())
    first = [*islice(rows, FAILED_ROWS)]
    if not first:
        return
    more = sum(1 for _ in rows)
    yield f"rows without an answer{f': the first {len(first)} of {len(first) + more:,}' if more else ''}"
    for row in first:
        yield f"  {f'row {row.row:,}':<8} {row.outcome}, {row.error}: {_one_line(row.answer, 400)}"
    yield ""


def _read_rows(path: Path) -> Iterator[ReportRow]:
    with path.open("rb") as lines:
        for line in lines:
            yield read_row(read_output_lines(line.rstrip(b"\n"))[0])


def _one_line(text: str, chars: int = TEXT_CHARS) -> str:
    return shorten(" ".join(text.split()), chars)


def _explanations(data: Mapping[str, Any], manifest: Mapping[str, Any]) -> Iterator[str]:
    """Yield why rows or the whole job did not succeed, and what to know about the answers."""
    if data.get("reason"):
        yield f"reason   {data['reason']}"
    if manifest["errors"]:
        yield f"errors   {counted(manifest['errors'])}; errors.jsonl says why for each row"
    for notice in manifest["format"].get("notices", ()):
        yield f"notice   {notice}"


def _cost(manifest: Mapping[str, Any]) -> str:
    known = dollars(manifest["cost_usd_known"])
    problem = manifest["prices"]["problem"]
    return f"{known}, plus an unknown part: {problem}" if problem else known


def _bill(environment: LocalEnvironment, manifest: Mapping[str, Any]) -> str:
    """Return what the simulator billed for the batches of a job; it has prices of its own."""
    if not environment.simulator:
        return ""
    url = f"{environment.simulator}/_simulator/bill"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5) as answer:
            billed: Mapping[str, float] = json.load(answer)["batches"]
    except OSError:
        return ""
    total = sum(billed.get(batch_id, 0.0) for batch_id in _batch_ids(manifest))
    return f" by the manifest; the simulator billed {dollars(total)}, and nobody charges it"


def _batch_ids(manifest: Mapping[str, Any]) -> Iterator[str]:
    for batch in manifest["batches"]:
        yield batch["batch_id"]


def _seconds(times: Mapping[str, str]) -> str:
    took = parse(times["ended_at"]) - parse(times.get("uploaded_at") or times["claimed_at"])
    return f"{took.total_seconds():.0f} s from the upload to the last answer"


def _files_in(folder: Path) -> list[str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path.relative_to(folder).as_posix() for path in files)


def _short(path: Path) -> Path:
    current = Path.cwd()
    return path.relative_to(current) if path.is_relative_to(current) else path
