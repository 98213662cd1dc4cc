"""The sections of the report, each from the figures that it shows."""

from collections.abc import Mapping, Sequence
from shlex import quote
from typing import Any

from functions.model.nouns import count_of
from functions.model.pricing import kind_of
from functions.report import charts
from functions.report.charts import Span
from functions.report.excerpts import ErrorGroup, ReportRow
from functions.report.formatting import (
    LATENCIES,
    LONGEST,
    duration,
    elapsed_element,
    median_below,
    seconds_between,
    size_bytes,
    size_ranges,
    time_element,
    usd,
)
from functions.report.html import Html, element, joined

MAX_BATCHES = 200
"""The most Message Batches of the timeline and of their table."""
MAX_NOTES = 20
KINDS = {
    "input": "Input",
    "cache_write": "Written to the cache",
    "cache_read": "Read from the cache",
    "output": "Output",
    "other": "Other",
}
"""The manifest's kinds of token, in the order of the table."""
_Manifest = Mapping[str, Any]


def _section(name: str, title: str, *content: str) -> Html:
    heading = element("h2", title, id=f"{name}-title")
    return element("section", heading, *content, id=name, aria_labelledby=f"{name}-title")


def _paragraph(*content: str, class_: str | None = "muted") -> Html:
    return element("p", *content, class_=class_)


def _facts(pairs: Sequence[tuple[str, str]], class_: str = "facts") -> Html:
    terms = [element("div", element("dt", name), element("dd", value)) for name, value in pairs]
    return element("dl", *terms, class_=class_)


def _table(
    caption: str, heads: Sequence[str], lines: Sequence[Sequence[str]], **more: object
) -> Html:
    """Return a table. The first cell of a line is its name; the others are numbers unless they are elements."""
    head = [
        element("th", name, scope="col", class_="number" if number else None)
        for number, name in enumerate(heads)
    ]
    body = [
        element(
            "tr",
            element("th", line[0], scope="row"),
            *(element("td", cell, class_="number") for cell in line[1:]),
        )
        for line in lines
    ]
    return element(
        "table",
        element("caption", caption),
        element("thead", element("tr", *head)),
        element("tbody", *body),
        **more,
    )  # fmt: skip


def headline(manifest: _Manifest) -> Html:
    """Return the head of the page: the upload, how the job ended, and why."""
    upload, times = manifest["upload"], manifest["times"]
    name = upload["key"].rpartition("/")[2] or upload["key"]
    outcome = str(manifest["outcome"])
    badge = element("strong", outcome, class_=f"badge {outcome}")
    rows, done = manifest["rows"], manifest["counts"].get("succeeded", 0)
    sentence = f"{done:,} of {rows:,} rows succeeded." if rows else "The upload has no rows."
    reason = manifest["reason"]
    return element(
        "header",
        _paragraph("claude-batch-relay", class_="eyebrow"),
        element("h1", element("bdi", name)),
        element("p", badge, " ", sentence, class_="outcome"),
        element("p", element("bdi", reason), class_="reason") if reason else "",
        _facts(
            [
                ("Upload", element("code", f"s3://{upload['bucket']}/{upload['key']}")),
                ("Job", element("code", manifest["job"])),
                ("Uploaded", time_element(times["uploaded_at"])),
                ("Ended", time_element(times["ended_at"])),
            ],
            "facts about",
        ),
    )


def tiles(manifest: _Manifest) -> Html:
    """Return the key figures."""
    rows, counts, times = manifest["rows"], manifest["counts"], manifest["times"]
    succeeded, saved = counts.get("succeeded", 0), manifest["saved_usd"]
    input_tokens, output_tokens = _token_sums(manifest)
    cost = manifest["cost_usd"]
    known = usd(cost) if cost is not None else f"≥ {usd(manifest['cost_usd_known'])}"
    pairs = [
        ("Succeeded", f"{succeeded:,}", f"of {rows:,} rows"),
        (
            "Did not succeed",
            f"{rows - succeeded:,}",
            "see the errors below" if rows - succeeded else "none",
        ),
        ("Cost", known, f"half price saved {usd(saved['batch_price'])}"),
        (
            "Tokens",
            f"{input_tokens + output_tokens:,}",
            f"{input_tokens:,} in, {output_tokens:,} out",
        ),
        (
            "Duration",
            elapsed_element(times["uploaded_at"], times["ended_at"]),
            "from upload to end",
        ),
    ]
    cards = [
        element("div", element("dt", name), element("dd", figure), element("dd", note, class_="muted"))
        for name, figure, note in pairs
    ]  # fmt: skip
    return element("dl", *cards, class_="tiles")


def _token_sums(manifest: _Manifest) -> tuple[int, int]:
    """Return the input tokens, cached ones included, and the output tokens of all models."""
    kinds = tokens_by_kind(manifest).values()
    input_tokens = sum(
        used.get(kind, 0) for used in kinds for kind in ("input", "cache_write", "cache_read")
    )
    return input_tokens, sum(used.get("output", 0) for used in kinds)


def tokens_by_kind(manifest: _Manifest) -> dict[str, dict[str, int]]:
    """Return model → kind → tokens, from the manifest's usage."""
    found: dict[str, dict[str, int]] = {}
    for model, usage in manifest["usage"].items():
        kinds = found.setdefault(model, {})
        for member, number in usage.items():
            kind = kind_of(member)
            if "[" not in member and kind != "other":
                kinds[kind] = kinds.get(kind, 0) + number
    return found


def notes(manifest: _Manifest) -> Html:
    """Return what is missing or unknown, and why. Nothing, if all is well."""
    retry, exports = manifest["retry"], manifest["exports"]
    found = [
        ("The cost is not known exactly", manifest["prices"]["problem"]),
        ("The retry file lacks rows", retry["reason"]),
        ("Files for other tools are missing", exports["reason"]),
        *(
            (f"Batch {batch['batch']}", batch["problem"])
            for batch in manifest["batches"]
            if "problem" in batch
        ),
    ]
    lines = [
        element("li", element("b", f"{what}: "), element("bdi", why)) for what, why in found if why
    ]
    if not lines:
        return Html()
    more = [element("li", f"and {len(lines) - MAX_NOTES:,} more; see manifest.json")]
    shown = lines if len(lines) <= MAX_NOTES else [*lines[:MAX_NOTES], *more]
    return _section("notes", "Notes", element("ul", *shown, class_="notes"))


def outcomes(manifest: _Manifest) -> Html:
    """Return the rows by outcome, and why answers ended."""
    counts = charts.by_outcome(manifest["counts"])
    label = "Rows by outcome: " + ", ".join(f"{count:,} {name}" for name, count in counts)
    parts = [(charts.outcome_class(name), float(count)) for name, count in counts]
    stops = sorted(manifest["stop_reasons"].items(), key=lambda stop: (-stop[1], stop[0]))
    unusable = [("truncated", manifest["truncated"]), ("empty", manifest["empty_answers"])]
    has_unusable = any(count for _, count in unusable)
    return _section(
        "rows-by-outcome",
        "Rows",
        charts.stacked_bar(parts, label),
        charts.legend(counts),
        element(
            "div",
            charts.bar_table("Stop reason", stops, "Why answers ended", counted="Answers")
            if stops
            else "",
            charts.bar_table("Answer", unusable, "Answers to check", counted="Answers")
            if has_unusable
            else "",
            class_="pair",
        ),
        _paragraph(
            "A truncated answer ran out of tokens (max_tokens, or the context window). An empty one has neither text "
            "nor tool use: a refusal, or thinking that used all tokens."
        )
        if has_unusable
        else _paragraph("No answer is truncated or empty."),
        _copies(manifest.get("copies", 0)),
    )


def _copies(copies: int) -> Html:
    """Return how many rows sent no request of their own. Nothing, if all did."""
    if not copies:
        return Html()
    have = "has" if copies == 1 else "have"
    return _paragraph(
        f"{count_of(copies, 'row')} {have} the result of an equal row. Tokens and cost count its request once."
    )


def errors(groups: Sequence[ErrorGroup], *, has_content: bool) -> Html:
    """Return the rows that did not succeed, by error, with sentences and first rows."""
    if not groups:
        return _section("errors", "Errors", _paragraph("Every row succeeded."))
    items = [
        element(
            "li",
            element(
                "h3",
                element("code", group.error),
                element("span", f" {count_of(group.count, 'row')}"),
            ),
            *(
                _paragraph(
                    element("bdi", sentence),
                    element("span", " " + _rows_of(first), class_="muted"),
                    class_=None,
                )
                for sentence, first in group.sentences.items()
            ),
        )
        for group in groups
    ]
    note = (
        "What did not succeed, by error, with its first sentences and rows. errors.jsonl has every row."
        if has_content
        else "What did not succeed, by error. Sentences may quote a row; they are in errors.jsonl."
    )
    items_list = element("ol", *items, class_="errors")
    return _section("errors", "Errors", _paragraph(note), items_list)


def _rows_of(first: Sequence[int]) -> str:
    return ("row " if len(first) == 1 else "rows ") + ", ".join(f"{row:,}" for row in first)


def time(manifest: _Manifest, progress: Sequence[Mapping[str, int]]) -> Html:
    """Return the section about time: when rows became final, and how long each Message Batch took."""
    times, batches = manifest["times"], manifest["batches"]
    begin, end = times["claimed_at"], times["ended_at"]
    whole = seconds_between(begin, end) or 1.0
    spans = [
        _span(batch, begin, whole)
        for batch in batches
        if batch["created_at"] is not None and batch["ended_at"] is not None
    ]
    if not spans:
        return _section("time", "Time", _paragraph("No Message Batch was answered."))
    left_out = len(spans) - MAX_BATCHES
    more = f" The first {MAX_BATCHES} of {len(spans):,} are shown." if left_out > 0 else ""
    axis = element(
        "p",
        element("span", time_element(begin)),
        element("span", time_element(end)),
        class_="axis",
    )
    return _section(
        "time",
        "Time",
        element("h3", "Rows by outcome over time"),
        charts.columns(progress, "Rows that became final, from the claim of the job to its end"),
        axis,
        _paragraph(_describe_columns(progress, whole)),
        element("h3", "Message Batches"),
        charts.timeline(spans[:MAX_BATCHES], f"{len(spans):,} Message Batches, from their creation to their end"),
        axis,
        _paragraph(f"Each bar is a Message Batch; the paler ones are later attempts.{more}"),
        element(
            "div",
            charts.bar_table("Duration", _latencies(batches), "Duration of Message Batches", counted="Batches"),
            element("details", element("summary", "Every Message Batch"), _batch_table(batches)),
            class_="pair",
        ),
    )  # fmt: skip


def _describe_columns(progress: Sequence[Mapping[str, int]], whole_s: float) -> str:
    """Return the scale of the columns: what the widths and the tallest one stand for."""
    most = max((sum(counts.values()) for counts in progress), default=0)
    width = duration(whole_s / max(len(progress), 1))
    return f"Each column is {width}, and the tallest is {count_of(most, 'row')}, in the colors of the outcomes above."


def _span(batch: _Manifest, begin: str, whole: float) -> Span:
    created, ended = (
        seconds_between(begin, batch["created_at"]),
        seconds_between(begin, batch["ended_at"]),
    )
    first, last = batch["rows"]
    title = f"{batch['batch']}: rows {first:,} to {last:,}, {duration((ended or 0.0) - (created or 0.0))}"
    kind = "accent" if batch["attempt"] == 1 else "later"
    return Span((created or 0.0) / whole, (ended or 0.0) / whole, kind, title)


def _latencies(batches: Sequence[_Manifest]) -> list[tuple[str, int]]:
    """Return how many Message Batches took how long, from the shortest to the longest that occurs."""
    names = [*(name for _, name in LATENCIES), LONGEST]
    counts = dict.fromkeys(names, 0)
    for batch in batches:
        seconds = seconds_between(batch["created_at"], batch["ended_at"])
        if seconds is not None:
            counts[next((name for bound, name in LATENCIES if seconds < bound), LONGEST)] += 1
    present = [number for number, name in enumerate(names) if counts[name]]
    return [(name, counts[name]) for name in names[present[0] : present[-1] + 1]]


def _batch_table(batches: Sequence[_Manifest]) -> Html:
    heads = ("Batch", "Requests", "Status", "Duration")
    lines = [
        (
            joined(element("code", batch["batch"]), element("small", batch["batch_id"] or "")),
            f"{batch['requests']:,}",
            str(batch["status"]).lower().replace("_", " "),
            elapsed_element(batch["created_at"], batch["ended_at"]),
        )
        for batch in batches[:MAX_BATCHES]
    ]
    return _table("Chunk and attempt, with the id at Anthropic", heads, lines, class_="batches")


def cost(manifest: _Manifest) -> Html:
    """Return the cost by model and kind of token, and what half price and caching saved."""
    costs, tokens = manifest["cost_usd_by_kind"], tokens_by_kind(manifest)
    saved, total = manifest["saved_usd"], manifest["cost_usd"]
    lines = [
        element("tbody", _model_line(model), *(
            _cost_line(KINDS[kind], None if kind == "other" else tokens.get(model, {}).get(kind, 0), costs[model][kind])
            for kind in KINDS
            if kind in costs[model]
        ))
        for model in costs
    ]  # fmt: skip
    lines.append(element("tbody", _cost_line("Total", sum(_token_sums(manifest)), total)))
    caching = "Caching saved" if saved["caching"] >= 0 else "Caching cost"
    pairs = [
        ("Half price saved", usd(saved["batch_price"])),
        (caching, usd(abs(saved["caching"]))),
    ]
    estimate = manifest["estimate"]
    if estimate is not None:
        pairs.append(("Expected before sending", usd(estimate["cost_usd"]["expected"])))
    if total is None:
        pairs.append(("Known part", usd(manifest["cost_usd_known"])))
    source = f"Prices: list {manifest['prices']['version']}. Outside a batch, the same tokens cost twice as much."
    return _section(
        "cost",
        "Cost",
        _cost_table(lines),
        _facts(pairs),
        _paragraph(source),
    )  # fmt: skip


def _cost_table(bodies: Sequence[Html]) -> Html:
    heads = [
        element("th", name, scope="col", class_="number" if number else None)
        for number, name in enumerate(("Model and kind of token", "Tokens", "US dollars"))
    ]
    return element("table", element("thead", element("tr", *heads)), *bodies, class_="cost")


def _model_line(model: str) -> Html:
    return element("tr", element("th", element("code", model), colspan=3, scope="rowgroup"))


def _cost_line(name: str, tokens: int | None, amount: float | None) -> Html:
    return element(
        "tr",
        element("th", name, scope="row"),
        element("td", "" if tokens is None else f"{tokens:,}", class_="number"),
        element("td", usd(amount), class_="number"),
    )


def tokens(
    manifest: _Manifest, input_sizes: Mapping[str, int], output_sizes: Mapping[str, int]
) -> Html:
    """Return the section about the length of prompts and answers."""
    if not input_sizes:
        return _section(
            "tokens", "Tokens", _paragraph("No answer reports how many tokens it used.")
        )
    input_tokens, output_tokens = _token_sums(manifest)
    return _section(
        "tokens",
        "Tokens",
        element(
            "div",
            _distribution(
                "Input tokens of a row, cached ones included", input_sizes, input_tokens
            ),
            _distribution("Output tokens of a row", output_sizes, output_tokens),
            class_="pair",
        ),
    )


def _distribution(caption: str, counts: Mapping[str, int], total: int) -> Html:
    answers = sum(counts.values())
    note = f"{total / answers:,.0f} tokens on average; at least half of the answers have fewer than {median_below(counts):,}."
    return element(
        "div",
        charts.bar_table("Tokens", size_ranges(counts), caption, counted="Answers"),
        _paragraph(note),
    )


def row_line(row: ReportRow, prompt: str) -> Html:
    """Return a row's line in the table of rows."""
    about = [
        row.custom_id,
        *([f"{row.tokens[0]:,} in, {row.tokens[1]:,} out"] if row.tokens else []),
    ]
    kinds = [*(["failed"] if row.outcome != "succeeded" else []), *row.flags]
    return element(
        "tr",
        element("th", f"{row.row:,}", *(element("small", part, dir="auto") for part in about if part), scope="row"),
        element("td", charts.dot(row.outcome), row.outcome, *(element("small", flag) for flag in row.flags)),
        element("td", prompt, dir="auto"),
        element("td", row.answer, dir="auto"),
        data_is=" ".join(kinds) or None,
    )  # fmt: skip


def rows(lines: Sequence[Html], first: int, failed: int, manifest: _Manifest) -> Html:
    """Return the table of rows, with its search."""
    all_failed = manifest["rows"] - manifest["counts"].get("succeeded", 0)
    caption = f"The first {first:,} of {manifest['rows']:,} rows, and the first {failed:,} of {all_failed:,} that did not succeed"
    choices = (
        ("", "all rows"),
        ("failed", "did not succeed"),
        ("truncated", "truncated"),
        ("empty", "empty"),
    )
    search = element(
        "form",
        element("label", "Search", element("input", type="search", id="query", autocomplete="off")),
        element(
            "label",
            "Show",
            element("select", *(element("option", name, value=value) for value, name in choices), id="only"),
        ),
        element("output", f"{len(lines):,} rows", id="found", for_="query only"),
        id="search",
        role="search",
        hidden=True,
    )  # fmt: skip
    heads = [element("th", name, scope="col") for name in ("Row", "Outcome", "Prompt", "Answer")]
    table = element(
        "table",
        element("caption", caption),
        element("thead", element("tr", *heads)),
        element("tbody", *lines),
        id="lines",
    )
    note = "Prompts (the last message) and answers are shortened; results.jsonl has them whole."
    return _section("rows", "Prompts and answers", search, table, _paragraph(note))


NO_CONTENT = _section(
    "rows",
    "Prompts and answers",
    _paragraph(
        'This report has figures only, because its option or setting `report` is "figures".'
    ),
)


def files(manifest: _Manifest, location: str) -> Html:
    """Return the files beside the report, by name and URI: links would not work with presigned URLs."""
    lines = [
        (
            joined(
                element("b", file["uri"].removeprefix(location + "/")),
                element("small", element("code", file["uri"])),
            ),
            size_bytes(file["size_bytes"]),
        )
        for file in manifest["files"].values()
    ]
    lines.append(
        (
            joined(
                element("b", "manifest.json"),
                element("small", element("code", f"{location}/manifest.json")),
            ),
            "",
        )
    )
    return _section(
        "files",
        "Files",
        _table("Beside this report", ("File", "Size"), lines, class_="files"),
        _paragraph("To download all of them:"),
        element("pre", element("code", f"aws s3 cp --recursive {quote(location + '/')} .")),
    )
