"""report.html: every figure is the manifest's, every text is only text, and a page is small whatever the job."""

import json
import re
import shlex
import tracemalloc
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest

from functions.assembling import job_report
from functions.assembling.job_report import DeliveredChunk, progress_of, write_report
from functions.model.items.counts import OutcomeCounts
from functions.model.items.stored_objects import ObjectVersion, StoredObject
from functions.report import sections
from functions.report.charts import bar_table, legend
from functions.report.excerpts import group_errors, prompt_of
from functions.report.formatting import duration, median_below, size_ranges, usd
from functions.report.html import element
from functions.report.page import MAX_BYTES, render
from tests.unit import factories, report_samples
from tests.unit.report_samples import HOSTILE, answered, at, errored, line, manifest

if TYPE_CHECKING:
    from functions.model.items.job import Job

TICKETS = report_samples.tickets()


class Page(HTMLParser):
    """A page as a browser reads it: its texts, and the names and attributes of its elements."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.texts)

    def count(self, *names: str) -> int:
        return sum(name in names for name, _ in self.elements)


# -- figures


@pytest.mark.parametrize(
    "shown",
    [
        *("119,412 of 120,000 rows succeeded.", "s3://relay-uploads/support/tickets-november.csv"),
        *("$37.24", "half price saved $37.24", "$25.78", "$35.90", "1 h 15 min"),
        *("66,293,528", "61,373,297 in, 4,920,231 out", "118,930", "invalid_request_error"),
        *("207 rows", "261 rows", "96 rows", "31.4 MB", "The first 120 of 120,000 rows"),
        *("Each column is 1 min 32 s, and the tallest is 19,862 rows", "514 tokens on average"),
    ],
)
def test_a_page_shows_the_figures_of_the_manifest(shown: str) -> None:
    assert shown in Page(render(TICKETS)).text


def test_costs_by_kind_add_up_to_the_cost_of_the_manifest() -> None:
    page = Page(render(TICKETS)).text
    costs = manifest()["cost_usd_by_kind"]
    assert sum(sum(kinds.values()) for kinds in costs.values()) == pytest.approx(37.240118)
    assert all(usd(cost) in page for kinds in costs.values() for cost in kinds.values())


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"cost_usd": None, "prices": {"version": "1", "source": "", "problem": "no price for x"}}, "no price for x"),
        ({"cost_usd": None, "cost_usd_known": 1.5}, "≥ $1.50"),
        ({"outcome": "failed", "reason": "the upload is not UTF-8 text"}, "the upload is not UTF-8 text"),
        ({"exports": {"complete": False, "reason": "not joined in 4 tries"}}, "not joined in 4 tries"),
        ({"retry": {"complete": False, "rows": 0, "missing_rows": 1, "reason": "was deleted"}}, "was deleted"),
        ({"rows": 0, "counts": {}, "errors": {}, "batches": [], "usage": {}, "cost_usd_by_kind": {}, "stop_reasons": {}}, "The upload has no rows."),
        ({"estimate": None, "saved_usd": {"batch_price": 1.0, "caching": -2.5}}, "Caching cost"),
        ({"copies": 5000}, "5,000 rows have the result of an equal row."),
        ({"batches": [report_samples.batch(0, 1, 1, 30) | {"problem": "a part was deleted"}]}, "a part was deleted"),
        ({"batches": [report_samples.batch(number, 1, 1, 30) for number in range(700)]}, "The first 200 of 700 are shown."),
        ({"batches": [report_samples.batch(0, 1, 1, 30) | {"created_at": None, "ended_at": None}]}, "No Message Batch was answered."),
    ],
)  # fmt: skip
def test_a_page_says_what_is_missing(changes: dict[str, Any], shown: str) -> None:
    data = msgspec.structs.replace(TICKETS, manifest=manifest(**changes))
    assert shown in Page(render(data)).text


def test_a_page_without_failed_rows_says_so() -> None:
    data = msgspec.structs.replace(TICKETS, errors=(), failed_rows=(), input_sizes={})
    page = Page(render(data)).text
    assert "Every row succeeded." in page
    assert "No answer reports how many tokens it used." in page


# -- content


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_content_is_text(name: str) -> None:
    data = report_samples.hostile()
    clean = Page(render(TICKETS))
    page = Page(render(data))
    assert page.count("script", "style", "meta", "link") == clean.count(
        "script", "style", "meta", "link"
    )
    assert not page.count("img", "iframe", "a", "base", "object", "embed", "animate")
    assert not [key for _, attributes in page.elements for key in attributes if key.startswith("on") or (key in {"href", "src", "style"} and attributes[key] != "data:,")]  # fmt: skip
    row = [*HOSTILE].index(name) + 1
    (shown,) = [found for found in data.first_rows if found.row == row]
    visible = re.sub("[\x00\x1b\x7f\x85]", "\ufffd", shown.answer)
    assert visible in page.texts
    assert len(shown.answer) <= 400


@pytest.mark.parametrize("name", ["a b", "it's $(touch x)", "'; touch x #", "-rf"])
def test_the_command_to_copy_has_the_location_as_one_word(name: str) -> None:
    location = f"s3://relay-results/results/{name}/3f9a"
    page = Page(render(msgspec.structs.replace(TICKETS, location=location)))
    (command,) = [text for text in page.texts if text.startswith("aws s3 cp")]
    assert shlex.split(command) == ["aws", "s3", "cp", "--recursive", location + "/", "."]


def test_the_policy_allows_one_style_and_one_script() -> None:
    (policy,) = [
        attributes["content"] or ""
        for _, attributes in Page(render(TICKETS)).elements
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert policy.count("sha256-") == 2
    assert "unsafe" not in policy


def test_figures_alone_contain_no_prompt_no_answer_and_no_id() -> None:
    data = msgspec.structs.replace(TICKETS, has_content=False)
    page = render(data).decode()
    assert "figures only" in page
    assert not [row for row in TICKETS.first_rows if row.custom_id in page]
    answers = [
        row.answer for row in TICKETS.first_rows if row.outcome == "succeeded" and row.answer
    ]
    assert not [answer for answer in answers if answer in page]
    assert not [prompt for prompt in TICKETS.prompts.values() if prompt in page]


@pytest.mark.parametrize(
    ("messages", "prompt"),
    [
        ([{"role": "user", "content": " hello "}], "hello"),
        ([{"role": "user", "content": "first"}, {"role": "assistant", "content": "then"}, {"role": "user", "content": "last"}], "last"),
        ([{"role": "user", "content": [{"type": "image", "source": {}}, {"type": "text", "text": "what is it?"}]}], "[image] what is it?"),
        ([{"role": "user", "content": "x" * 400}], "x" * 299 + "…"),
        ([], "(no text in the last message)"),
        ("not a list", "(no text in the last message)"),
    ],
)  # fmt: skip
def test_the_prompt_is_the_last_message(messages: Any, prompt: str) -> None:
    assert prompt_of(json.dumps({"messages": messages}).encode()) == prompt


@pytest.mark.parametrize(
    ("result", "shown"),
    [
        (answered("fine"), ("succeeded", (), "fine")),
        (answered("cut", "max_tokens"), ("succeeded", ("truncated",), "cut")),
        (answered("", "refusal"), ("succeeded", ("empty",), "")),
        (errored("api_error", "Internal"), ("errored", ("api_error",), "Internal")),
        ({"type": "canceled"}, ("canceled", (), "The row was canceled before the API answered it.")),
        ({"type": "rejected", "error": {"code": "bad", "message": "line 1: bad", "line": 1}}, ("rejected", ("bad",), "line 1: bad")),
        ({"type": "succeeded", "message": {"content": [{"type": "tool_use", "name": "sort", "input": {"to": 1}}]}}, ("succeeded", (), '[sort({"to":1})]')),
        ({"type": "succeeded", "message": {"content": 7}}, ("succeeded", (), "(not text; see results.jsonl)")),
        ({"type": "invented"}, ("invented", (), "")),
    ],
)  # fmt: skip
def test_a_row_shows_its_outcome_and_its_answer(result: Any, shown: tuple[Any, ...]) -> None:
    row = line(1, result)
    assert (row.outcome, row.flags, row.answer) == shown


def test_errors_are_grouped_with_sentences_and_first_rows() -> None:
    rejected = {"type": "rejected", "error": {"code": "bad", "message": "line {}: bad", "line": 1}}
    rows = [
        line(row, json.loads(json.dumps(rejected).replace("{}", str(row)))) for row in range(1, 9)
    ]
    rows += [
        line(20 + number, errored("api_error", sentence)) for number, sentence in enumerate("abcd")
    ]
    groups = group_errors({"api_error": 4, "bad": 800, "far away": 1}, rows)
    assert [(group.error, group.count, group.sentences) for group in groups] == [
        ("bad", 800, {"line 1: bad": [1, 2, 3, 4, 5]}),
        ("api_error", 4, {"a": [20], "b": [21], "c": [22]}),
        ("far away", 1, {}),
    ]


# -- words and charts


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (usd(None), "unknown"),
        *((usd(amount), text) for amount, text in ((0, "$0.00"), (1234.5, "$1,234.50"), (0.25, "$0.2500"), (0.0004, "$0.000400"), (-1.0, "-$1.00"))),
        *((duration(seconds), text) for seconds, text in ((8.4, "8 s"), (125, "2 min 05 s"), (3840, "1 h 04 min"), (180_000, "2 d 02 h"))),
        ([*size_ranges({"0": 1, "3": 2})], [("0", 1), ("1", 0), ("2 to 3", 0), ("4 to 7", 2)]),
        ([*size_ranges({})], []),
        (median_below({"3": 1, "9": 10, "10": 2}), 512),
        (element("b", "<", title='"'), '<b title="&quot;">&lt;</b>'),
        (bar_table("a", [("x", 0)], "c").count('width="0.00%"'), 1),
        (bar_table("a", [("x", 1), ("y", 9_999)], "c").count('width="1.20%"'), 1),  # small, but seen
        (bar_table("a", [], "c", counted="Answers").count(">Answers</th>"), 1),
        (legend([("<odd>", 1)]).count("&lt;odd&gt;"), 1),  # escaped once
    ],
)  # fmt: skip
def test_figures_are_written_for_people(shown: object, expected: object) -> None:
    assert shown == expected


# -- gathering


def chunk(number: int, *attempts: tuple[float | None, dict[str, int]]) -> DeliveredChunk:
    """Return a chunk of ten rows: the minute at which each attempt ended, and the outcomes after it."""
    batches = [
        factories.batch(
            chunk=number, attempt=attempt, first_row=10 * number + 1, last_row=10 * number + 10,
            ended_at=None if minute is None else at(minute), tally=OutcomeCounts(outcomes=outcomes),
        )
        for attempt, (minute, outcomes) in enumerate(attempts, 1)
    ]  # fmt: skip
    return DeliveredChunk(batches, OutcomeCounts(outcomes=attempts[-1][1]))


def test_rows_are_counted_when_they_become_final() -> None:
    job = factories.job(claimed_at=at(0), ended_at=at(48))
    bins = progress_of(
        job,
        [
            chunk(0, (10.5, {"succeeded": 7, "expired": 2, "rejected": 1}), (30.5, {"succeeded": 8, "expired": 1, "rejected": 1})),
            chunk(1, (10.9, {"succeeded": 10})),
            chunk(2, (None, {"errored": 10})),
            chunk(3, (48, {"canceled": 10})),
        ],
    )  # fmt: skip
    found = {number: counts for number, counts in enumerate(bins) if counts}
    assert found == {
        10: {"succeeded": 17},
        30: {"succeeded": 1, "expired": 1},
        47: {"canceled": 10},
    }


class EndlessFiles:
    """An object store whose results.jsonl and errors.jsonl have a million long rows, made as they are read."""

    bucket = "results"

    def __init__(self, result: dict[str, Any]) -> None:
        self.result, self.read_bytes, self.written = json.dumps(result).encode(), 0, b""

    def results_object(self, key: str) -> ObjectVersion:
        return ObjectVersion("results", key)

    def lines(self, _source: ObjectVersion) -> Iterator[bytes]:
        for row in range(1, 1_000_001):
            text = b'{"row":%d,"custom_id":"r","result":%b}' % (row, self.result)
            self.read_bytes += len(text)
            yield text

    def read(
        self, source: ObjectVersion, start: int = 0, stop: int | None = None
    ) -> Iterator[bytes]:
        """Read a ledger of a million rows, each with a request of 1,000 bytes at a distance of 10,000."""
        if source.key.endswith("requests.json"):
            assert stop is not None
            yield b" " * (stop - start)
            return
        for row in range(1, 1_000_001):
            entry = b'[%d,%d,0,0,"r",%d,1000,null]\n' % (row, row, row * 10_000)
            self.read_bytes += len(entry)
            yield entry

    def put(self, key: str, body: bytes, _content_type: str) -> StoredObject:
        self.written = body
        return StoredObject(key=key, size=len(body), crc32=0)


@pytest.mark.parametrize(
    ("name", "result"),
    [
        ("short answers", answered("yes")),
        ("long answers", answered("&<>" * 30_000)),
        ("errors", errored("api_error", "&" * 5_000)),
        ("one error among others", errored("api_error", "no") | {"pad": "x" * 3_000}),
    ],
)
def test_a_million_rows_take_little_memory_and_make_a_small_page(
    name: str, result: dict[str, Any]
) -> None:
    files = EndlessFiles(result)
    job = factories.job(claimed_at=at(0), ended_at=at(9), report="full")
    errors = {"api_error": 1_000_000} if "error" in name else {}
    if name == "one error among others":
        errors["rare_error"] = 1
    tally = OutcomeCounts(outcomes={"errored": 1_000_000}, errors=errors)
    batch = factories.batch(
        first_row=1, last_row=1_000_000, requests_key="requests.json", ended_at=at(5)
    )
    tracemalloc.start()
    found, problem = write_report(
        cast("Any", files), job, [DeliveredChunk([batch], tally)], tally, manifest(), 1
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (problem, found["report"].size) == (None, len(files.written))
    assert len(files.written) < MAX_BYTES
    assert peak < 40_000_000
    assert files.read_bytes < 3 * job_report.MAX_READ_BYTES


def test_a_page_of_the_longest_texts_is_small() -> None:
    page = render(report_samples.many(range(1, 2_001), "&\U0001f600" * 5_000))
    assert 3_000_000 < len(page) < MAX_BYTES
    assert "did not succeed" in page.decode()


@pytest.mark.parametrize(
    ("changes", "tries", "problem"),
    [
        ({"report": "off"}, 1, None),
        ({"report": "full"}, 4, "not written in 3 tries"),
    ],
)
def test_no_report_is_written_if_none_is_wanted_or_it_failed_too_often(
    changes: dict[str, Any], tries: int, problem: str | None
) -> None:
    job: Job = factories.job(**changes)
    assert write_report(cast("Any", None), job, [], OutcomeCounts(), {}, tries) == (
        {},
        problem,
    )


def test_every_kind_of_token_has_a_name() -> None:
    assert set(sections.KINDS) >= {kind for kinds in manifest()["cost_usd_by_kind"].values() for kind in kinds}  # fmt: skip
