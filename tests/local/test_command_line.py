import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from local.command_line import main
from local.interruption import STOP_SIGNALS

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "examples"

ANSWERS = re.compile(
    r"3 answers of results\.jsonl\n"
    r"  row 1    I was charged twice.*\n +→ \S.*\n"
    r"  row 2\d   \S.*\n +→ \S.*\n"
    r"  row 41   What does HTTP 429 mean\?\n +→ \S.*\n"
)

type RunHere = Callable[..., tuple[int | str | None, str, str]]


def run_command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean_env = {
        name: value for name, value in os.environ.items() if name not in {"CLAUDE", "YES"}
    }
    return subprocess.run(  # noqa: S603 - a list made here
        [sys.executable, "-m", "local", *arguments],
        cwd=ROOT,
        env=clean_env | environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=300,
        check=False,
    )


@pytest.fixture
def run_here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[RunHere]:
    """Run a command that starts nothing, without a process of its own; return its code, stdout and stderr."""
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    for name in ("CLAUDE", "YES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(ROOT)

    def run(*arguments: str, **environment: str) -> tuple[int | str | None, str, str]:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        try:
            code: int | str | None = main(arguments)
        except SystemExit as error:
            code = error.code
        return code, *capsys.readouterr()

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_help_lists_the_commands() -> None:
    process = run_command("--help")

    assert process.returncode == 0
    assert all(word in process.stdout for word in ("up", "run", "down", "CLAUDE=real"))


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "expected"),
    [
        (["run", "nowhere.jsonl"], {}, 3, "there is no file nowhere.jsonl"),
        (["run", "examples"], {}, 2, "examples is not a file: name files"),
        (
            ["run", "examples/subscriber/subscriber.py"],
            {},
            2,
            "would be ignored: what ends in .jsonl",
        ),
        (["run", "examples/tickets.csv.relay.toml"], {}, 2, "is an options file"),
        (["run"], {"CLAUDE": "reel"}, 1, "CLAUDE is 'reel'"),
        (["run"], {"CLAUDE": "real", "ANTHROPIC_API_KEY": ""}, 1, "needs a key"),
        (
            ["run"],
            {"CLAUDE": "real", "ANTHROPIC_API_KEY": "sk-ant-x"},
            1,
            "no terminal for the question",
        ),
    ],
)
def test_an_impossible_command_prints_one_sentence(
    run_here: RunHere,
    arguments: list[str],
    environment: dict[str, str],
    code: int,
    expected: str,
) -> None:
    ended, _, errors = run_here(*arguments, **environment)

    assert ended == code
    assert expected in errors
    assert len(errors.strip().splitlines()) == 1


def test_an_empty_file_is_refused_before_anything_is_started(
    run_here: RunHere, tmp_path: Path
) -> None:
    (tmp_path / "empty.jsonl").touch()

    code, output, errors = run_here("run", str(tmp_path / "empty.jsonl"))

    assert (code, output) == (2, "")
    assert "empty.jsonl is empty: there is nothing to send" in errors


@pytest.mark.parametrize("arguments", [[], ["fly"], ["up", "--port", "0"], ["down", "now"]])
def test_an_invalid_command_line_exits_with_status_2(
    run_here: RunHere, arguments: list[str]
) -> None:
    code, _, errors = run_here(*arguments)

    assert code == 2
    assert "usage:" in errors


def test_the_cost_of_the_real_api_is_shown_before_anything_is_started(run_here: RunHere) -> None:
    _, output, errors = run_here("run", CLAUDE="real", ANTHROPIC_API_KEY="sk-ant-x")

    assert "questions.jsonl: 37 requests, 4 of 41 rows rejected, at most $0.20" in output
    assert "sk-ant-x" not in output + errors


def test_the_demo_writes_a_result_for_every_row(tmp_path: Path) -> None:
    process = run_command("run", "--into", str(tmp_path))

    assert process.returncode == 0, process.stderr
    assert "starting the emulator of AWS\ndeploying the stack\nuploading q" in process.stdout
    assert " of 37 requests" in process.stdout
    assert ANSWERS.search(process.stdout)
    assert "\n  row 24   rejected, unsupported_parameter: line 24: " in process.stdout
    assert "partial, 41 rows: 4 rejected, 37 succeeded" in process.stdout
    assert re.search(
        r"cost     \$(\S+) by the manifest; the simulator billed \$\1,", process.stdout
    )
    assert "specversion" not in process.stdout, "events are printed with --verbose"
    assert "0 empty, 0 truncated" in process.stdout
    [report] = tmp_path.rglob("report.html")
    assert f"report   {report}" in process.stdout
    assert "errors   1 invalid_json, 1 no_params, 2 unsupported_parameter;" in process.stdout
    assert "notice" not in process.stdout, "the example shows how requests should be written"
    assert process.stderr == ""
    [status] = tmp_path.rglob("status.json")
    assert json.loads(status.read_bytes())["status"] == "DONE"
    [results] = tmp_path.rglob("results.jsonl")
    rows = [json.loads(line)["row"] for line in results.read_text(encoding="utf-8").splitlines()]
    assert rows == [*range(1, 42)]


def test_the_demo_runs_files_of_other_kinds_with_the_options_beside_them(tmp_path: Path) -> None:
    waiting = tmp_path / "in" / "waiting.csv"
    waiting.parent.mkdir()
    waiting.write_bytes((EXAMPLES / "tickets.csv").read_bytes())
    letter = tmp_path / "in" / "letter.jsonl"
    letter.write_bytes(b"%PDF-1.7")
    kinds = ("tickets.csv", "openai-batch.jsonl", "bedrock-batch.jsonl")
    files = [str(EXAMPLES / name) for name in kinds]

    process = run_command(
        "run", *files, str(waiting), str(letter), "--into", str(tmp_path / "results")
    )

    assert process.returncode == 1
    assert process.stderr == ""
    assert "waiting.csv was not run: the rows are not requests" in process.stdout
    assert 'custom_id = "{{ticket_id}}"' in process.stdout
    assert ": failed, 0 rows: nothing was read\nreason   the upload is a PDF;" in process.stdout
    for name, rows, outputs in (
        ("tickets", 6, "results.csv, results.jsonl, retry.csv"),
        ("openai-batch", 3, "openai/batch.json, openai/error.jsonl, openai/output.jsonl"),
        ("bedrock-batch", 3, "bedrock/bedrock-batch.jsonl.out, bedrock/manifest.json.out"),
    ):
        assert f"{rows} rows: {rows} succeeded" in process.stdout
        assert outputs in process.stdout
        [folder] = (tmp_path / "results" / "examples" / name).iterdir()
        assert all((folder / output).exists() for output in outputs.split(", "))
