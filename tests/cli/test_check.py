"""`relay check` says of each file what would become of it, and its exit code says whether all is well."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.progress import Progress
from typer.testing import CliRunner, Result

from cli.app import app
from cli.output import Output
from local.simulator import Simulator, serving
from tests.harness import make_row, make_upload
from tests.integration.upload_kinds import KINDS

OPENAI = next(kind for kind in KINDS if kind.key == "chat.jsonl")
TEMPLATE = """
[request.params]
model = "claude-haiku-5-5"
max_tokens = 64
messages = [{ role = "user", content = "{{text}}" }]
"""
SEARCH = {"type": "web_search_20250305", "name": "web_search"}


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    monkeypatch.delenv("ANTHROPIC_BASE_URL", raising=False)


def relay(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "300"})


def checked(*arguments: object) -> list[dict[str, object]]:
    files: list[dict[str, object]] = json.loads(relay("--json", "check", *arguments).stdout)[
        "files"
    ]
    return files


def test_a_file_that_would_be_sent_whole_is_ok(tmp_path: Path) -> None:
    file = write(tmp_path / "good.jsonl", make_upload(3))

    result = relay("check", file)

    assert result.exit_code == 0
    assert f"{file}: 3 rows, 0 rejected; 3 would be sent in 1 batch" in result.stdout
    assert "options  none" in result.stdout
    assert "cost     at most one cent if each answer takes its max_tokens" in result.stdout


def test_progress_ends_at_the_size_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The beginning of a file is read more than once: to detect its format, and to plan."""
    file, progress = write(tmp_path / "march.jsonl", make_upload(3)), Progress(disable=True)
    monkeypatch.setattr(Output, "progress", lambda _output: progress)

    relay("check", file)

    assert progress.tasks[0].completed == file.stat().st_size


def test_rejected_rows_are_counted_by_kind_with_the_first_sentences(tmp_path: Path) -> None:
    file = write(tmp_path / "odd.jsonl", make_row(1) + b"\n{}" * 12)

    result = relay("check", file)

    assert result.exit_code == 1
    assert "13 rows, 12 rejected; 1 would be sent in 1 batch" in result.stdout
    assert "no_params: 12 rows" in result.stdout
    assert [f"- line {line}:" in result.stdout for line in (2, 6, 7)] == [True, True, False]


PROBLEMS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a folder": (lambda folder: folder, "is not a file: name files, such as"),
    "another suffix": (lambda folder: write(folder / "a.pdf", b"%PDF"), "would be ignored: what ends in .jsonl, "),
    "another kind of file": (lambda folder: write(folder / "a.csv", b"%PDF-1"), "is a PDF; upload"),
    "a table": (
        lambda folder: write(folder / "a.csv", b"text\nhello\n"),
        "a.csv.relay.toml\n[request]",
    ),
    "a budget": (
        lambda folder: with_options(folder, make_upload(2), "budget_usd = 0.000001"),
        "more than its budget_usd of $0.000001: raise budget_usd in the options",
    ),
    "a cost without a bound": (
        lambda folder: with_options(folder, make_row(1, tools=[SEARCH]), "budget_usd = 100"),
        "a document at a URL or web search results: send it and release it with `relay go`",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_file_that_would_not_be_sent_says_why(name: str, tmp_path: Path) -> None:
    make, sentence = PROBLEMS[name]

    result = relay("check", make(tmp_path))

    assert result.exit_code == 1
    assert sentence in result.stdout


def test_rows_that_share_a_request_are_not_called_rejected(tmp_path: Path) -> None:
    write(tmp_path / "_relay.toml", b'equal_rows = "once"')
    file = write(tmp_path / "twice.jsonl", b"\n".join([make_row(1), make_row(2), make_row(1)]))

    result = relay("check", file)

    assert result.exit_code == 0
    assert "3 rows, 0 rejected; 2 would be sent in 1 batch" in result.stdout
    assert "equal    1 row would share the request of an earlier row" in result.stdout


def test_one_bad_file_does_not_hide_the_others(tmp_path: Path) -> None:
    good = write(tmp_path / "good.jsonl", make_upload(2))

    bad, other = checked(tmp_path, good)

    assert (bad["rows"], other["rows"]) == (0, 2)


def test_the_options_of_all_folders_above_apply_and_the_nearest_win(tmp_path: Path) -> None:
    team = tmp_path / "team" / "in"
    team.mkdir(parents=True)
    far = write(tmp_path / "_relay.toml", b"pilot_rows = 1\nshares = { team = { requests = 9 } }")
    near = write(tmp_path / "team" / "_relay.toml", b"pilot_rows = 3")
    file = write(team / "few.jsonl", make_upload(9))
    own = write(team / "few.jsonl.relay.toml", b'priority = "low"')

    (found,) = checked(file)

    assert found["options"] == [str(far), str(near), str(own)]
    assert (found["pilot_rows"], found["batches"]) == (3, 2)


@pytest.mark.parametrize("name", ["options.toml", "options.json"])
def test_an_options_file_replaces_the_one_beside_the_file(name: str, tmp_path: Path) -> None:
    file = with_options(tmp_path, b"text\nhello\n", "models = ", name="a.csv")
    text = json.dumps({"request": {"params": {"model": "claude-haiku-5-5", "max_tokens": 9,
        "messages": [{"role": "user", "content": "{{text}}"}]}}}) if name.endswith("json") else TEMPLATE  # fmt: skip
    options = write(tmp_path / name, text.encode())

    (found,) = checked(file, "--options", options)

    assert (found["options"], found["requests"]) == ([str(options)], 1)


def test_what_a_translation_drops_is_named(tmp_path: Path) -> None:
    file = with_options(tmp_path, OPENAI.body, OPENAI.options)

    assert "temperature: dropped or changed in 5 rows" in relay("check", file).stdout


def test_tokens_are_counted_only_with_a_key(tmp_path: Path) -> None:
    result = relay("check", write(tmp_path / "a.jsonl", make_upload(1)), "--count-tokens")

    assert result.exit_code == 2
    assert "--count-tokens needs an API key: set ANTHROPIC_API_KEY" in result.stderr


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    """The API that `--count-tokens` asks."""
    simulator = Simulator(tmp_path / "simulator")
    with serving(simulator) as url:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", url)
        monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-local")
        yield simulator


def test_counting_tokens_sends_no_batch(tmp_path: Path, api: Simulator) -> None:
    (found,) = checked(write(tmp_path / "a.jsonl", make_upload(60)), "--count-tokens")

    assert isinstance(found["estimate"], dict)
    assert found["estimate"]["counted_rows"] == 50
    assert api.batches() == []


@pytest.mark.usefixtures("api")
def test_tokens_are_counted_after_the_rows_that_warm_up_a_prefix(tmp_path: Path) -> None:
    prefix = [{"type": "text", "text": "a rule. " * 4000, "cache_control": {"type": "ephemeral"}}]
    body = b"\n".join(make_row(number, system=prefix) for number in range(1, 5))
    file = with_options(tmp_path, body, "warm_cache = true")

    (found,) = checked(file, "--count-tokens")

    assert "cache_control.ttl: raised by warm_cache in 1 row" in relay("check", file).stdout
    assert found["batches"] == 2
    assert isinstance(found["estimate"], dict)
    assert found["estimate"]["counted_rows"] == 3  # as planning does


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", make_upload(1))

    assert relay("check", file, "--options", tmp_path / "none.toml").exit_code == 3
    assert relay("check", tmp_path / "none.jsonl").exit_code == 3


def write(path: Path, body: bytes) -> Path:
    path.write_bytes(body)
    return path


def with_options(folder: Path, body: bytes, options: str, name: str = "a.jsonl") -> Path:
    write(folder / f"{name}.relay.toml", options.encode())
    return write(folder / name, body)
