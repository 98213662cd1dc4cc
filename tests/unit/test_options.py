"""Options files: where they are, what they may contain, and which one wins."""

import pytest

from functions.model.options import (
    MAX_KEY_BYTES,
    InvalidOptionsError,
    governs,
    is_options_file,
    name_problem,
    options_file_keys,
    options_of,
    parse,
)

EXAMPLE = b"""
betas = ["output-300k-2026-03-24"]
api_version = "2026-10-21"
models = { "gpt-4o" = "claude-sonnet-5-5", "*" = "claude-haiku-5-5" }
outputs = ["csv"]
on_unsupported = "reject"
[request]
custom_id = "{{ticket_id}}"
[request.params]
model = "claude-haiku-5-5"
max_tokens = 512
messages = [{ role = "user", content = "<ticket>{{body}}</ticket>" }]
"""


def test_toml_and_json_are_equivalent() -> None:
    as_json = b'{"outputs":["csv"],"request":{"custom_id":"{{id}}","params":{"model":"m","max_tokens":5}}}'
    as_toml = (
        b'outputs = ["csv"]\n[request]\ncustom_id = "{{id}}"\n'
        b'[request.params]\nmodel = "m"\nmax_tokens = 5\n'
    )

    assert parse("_relay.json", as_json) == parse("_relay.toml", as_toml)
    assert options_of([parse("_relay.toml", EXAMPLE)]).models["*"] == "claude-haiku-5-5"


def test_the_files_of_an_upload_are_looked_for_from_the_root_to_the_upload() -> None:
    assert [toml for toml, _ in options_file_keys("team/2026/tickets.csv")] == [
        "_relay.toml",
        "team/_relay.toml",
        "team/2026/_relay.toml",
        "team/2026/tickets.csv.relay.toml",
    ]
    assert [json for _, json in options_file_keys("tickets.csv")] == [
        "_relay.json",
        "tickets.csv.relay.json",
    ]


def test_an_upload_whose_key_leaves_no_room_has_no_file_of_its_own() -> None:
    places = [*options_file_keys("x" * 1015 + ".csv"), *options_file_keys("é" * 510 + ".csv")]

    assert all(len(key.encode()) <= MAX_KEY_BYTES for pair in places for key in pair)
    assert len([*options_file_keys("x" * 1000 + ".csv")]) == 2


@pytest.mark.parametrize(
    ("options_key", "upload_key", "expected"),
    [
        ("_relay.toml", "a/b.csv", True),
        ("a/_relay.json", "a/b.csv", True),
        ("a/b.csv.relay.toml", "a/b.csv", True),
        ("a/c.csv.relay.toml", "a/b.csv", False),
        ("ab/_relay.toml", "a/b.csv", False),
        ("a/c/_relay.toml", "a/b.csv", False),
    ],
)
def test_a_file_governs_its_folder_and_all_below(
    options_key: str,
    upload_key: str,
    expected: bool,  # noqa: FBT001 - a case of the table
) -> None:
    assert is_options_file(options_key)
    assert governs(options_key, upload_key) is expected


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("in/_relay.toml", None),
        ("in/march.csv.relay.json", None),
        ("in/MARCH.CSV.relay.toml", None),
        ("in/march.csv", None),
        ("in/_RELAY.TOML", "rename it to _relay.toml"),
        ("in/_Relay.json", "rename it to _relay.json"),
        ("in/March.csv.Relay.Toml", "rename it to March.csv.relay.toml"),
        ("in/relay.toml", "rename it to _relay.toml"),
        ("in/march.toml", "march.csv.relay.toml"),
        ("in/_relay.yaml", "rename it to _relay.toml"),
    ],
)
def test_a_file_that_is_meant_as_options_says_why_it_is_not_read(
    key: str, said: str | None
) -> None:
    problem = name_problem(key)

    assert problem is None if said is None else said in (problem or "")


def test_other_keys_are_no_options_files() -> None:
    assert not any(map(is_options_file, ["relay.toml", "a.toml", "a/_relay.toml.bak", "a.jsonl"]))


def test_the_nearest_file_wins_key_by_key() -> None:
    far = {
        "betas": ["a", "b"],
        "models": {"x": "far", "y": "far"},
        "request": {"params": {"model": "far", "max_tokens": 5}},
    }
    near = {"betas": ["c"], "models": {"x": "near"}, "request": {"params": {"model": "near"}}}

    merged = options_of([far, near])

    assert merged.betas == ["c"]
    assert merged.models == {"x": "near", "y": "far"}
    assert merged.request.params == {"model": "near", "max_tokens": 5}


@pytest.mark.parametrize(
    ("key", "text", "problem"),
    [
        ("_relay.toml", b"a = ", "not valid TOML: Invalid value (at end of document)"),
        (
            "_relay.toml",
            b"pilot_rows = " + b"9" * 5000,
            "not valid TOML: a number has too many digits",
        ),
        ("_relay.json", b"{", "not valid JSON: Input data was truncated"),
        ("_relay.json", b"[]", "not a JSON object; write the options as its members"),
        (
            "_relay.toml",
            b"\xff",
            "not UTF-8 text (first invalid byte at offset 0); save it as UTF-8",
        ),
        ("_relay.toml", b"modles = 1", "Object contains unknown field `modles`"),
        (
            "_relay.toml",
            b"[request]\nparam = 1",
            "Object contains unknown field `param` at `request`",
        ),
        ("_relay.toml", b"betas = 'x'", "Expected `array`, got `str` at `betas`"),
        (
            "_relay.toml",
            b'betas = ["a", "b\\n"]',
            "Expected a name such as 'output-300k-2026-03-24' at `betas[1]`",
        ),
        ("_relay.toml", b"a = " + b"[" * 10_000, "nested deeper than 100 levels; simplify it"),
        (
            "_relay.json",
            b'{"request":{"params":{"a":' + b"[" * 5_000 + b"]" * 5_000 + b"}}}",
            "nested deeper than 100 levels; simplify it",
        ),
        ("_relay.toml", b"outputs = ['pdf']", "Invalid enum value 'pdf' at `outputs[0]`"),
        (
            "_relay.toml",
            b"api_version = 'latest'",
            "Expected a version such as '2026-10-21' at `api_version`",
        ),
        ("_relay.toml", b"priority = 'urgent'", "Invalid enum value 'urgent' at `priority`"),
        (
            "_relay.toml",
            b"deadline_hours = '6'",
            "Expected `float | null`, got `str` at `deadline_hours`",
        ),
        ("_relay.toml", b"deadline_hours = 0", "Expected `float` > 0.0 at `deadline_hours`"),
        ("_relay.toml", b"deadline_hours = nan", "Expected `float` > 0.0 at `deadline_hours`"),
        ("_relay.toml", b"deadline_hours = inf", "Expected `float` <= 8760.0 at `deadline_hours`"),
        (
            "_relay.toml",
            b"retry_truncated = { factor = 0.5 }",
            "Expected `float` >= 1.0 at `retry_truncated.factor`",
        ),
        (
            "_relay.toml",
            b"retry_truncated = { max = 5 }",
            "Object contains unknown field `max` at `retry_truncated`",
        ),
        (
            "_relay.toml",
            b"[shares]\nteam = { batches = 5 }",
            "Object contains unknown field `batches` at `shares[...]`",
        ),
        (
            "_relay.toml",
            b"[shares]\nteam = { requests = 0 }",
            "Expected `int` >= 1 at `shares[...].requests`",
        ),
        ("_relay.toml", b"[shares]\nteam = 5", "Expected `object`, got `int` at `shares[...]`"),
        (
            "_relay.toml",
            b"[shares]\n'team/a' = { requests = 5 }",
            "Expected the name of a top-level folder, without a slash at `key` in `shares`",
        ),
        (
            "team/_relay.toml",
            b"[shares]\nteam = { requests = 5 }",
            "`shares` limits whole folders; move it to _relay.toml in the root of the bucket",
        ),
    ],
)
def test_a_file_that_cannot_be_used_says_why(key: str, text: bytes, problem: str) -> None:
    with pytest.raises(InvalidOptionsError) as caught:
        parse(key, text)

    assert str(caught.value) == problem
