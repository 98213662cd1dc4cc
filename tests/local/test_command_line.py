import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def relay(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name not in {"CLAUDE", "YES"}}
    return subprocess.run(  # noqa: S603 - a list made here
        [sys.executable, "-m", "local", *words],
        cwd=ROOT,
        env=clean | environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=300,
        check=False,
    )


def test_help_says_what_there_is() -> None:
    done = relay("--help")

    assert done.returncode == 0
    assert all(word in done.stdout for word in ("up", "run", "down", "CLAUDE=real"))


@pytest.mark.parametrize(
    ("words", "environment", "said"),
    [
        (["run", "nowhere.jsonl"], {}, "there is no file nowhere.jsonl"),
        (["run", "examples"], {}, "there is no file examples"),
        (["run"], {"CLAUDE": "reel"}, "CLAUDE is 'reel'"),
        (["run"], {"CLAUDE": "real", "ANTHROPIC_API_KEY": ""}, "needs a key"),
        (["run"], {"CLAUDE": "real", "ANTHROPIC_API_KEY": "sk-ant-x"}, "no terminal to ask on"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    words: list[str], environment: dict[str, str], said: str
) -> None:
    done = relay(*words, **environment)

    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("words", [[], ["fly"], ["up", "--port", "0"], ["down", "now"]])
def test_a_wrong_command_line_is_told_with_status_2(words: list[str]) -> None:
    done = relay(*words)

    assert done.returncode == 2
    assert "usage:" in done.stderr


def test_the_real_api_is_asked_for_with_its_price_before_anything_is_started() -> None:
    done = relay("run", CLAUDE="real", ANTHROPIC_API_KEY="sk-ant-x")

    assert "requests to the real API, at most about $" in done.stdout
    assert "sk-ant-x" not in done.stdout + done.stderr


def test_the_demo_ends_with_a_line_for_every_row(tmp_path: Path) -> None:
    done = relay("run", "--into", str(tmp_path))

    assert done.returncode == 0, done.stderr
    assert "partial, 41 rows: 4 rejected, 37 succeeded" in done.stdout
    assert done.stderr == ""
    [results] = tmp_path.rglob("results.jsonl")
    rows = [json.loads(line)["row"] for line in results.read_text(encoding="utf-8").splitlines()]
    assert rows == [*range(1, 42)]
