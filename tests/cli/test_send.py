"""`relay send` uploads files under their keys, or says why it does not."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.cli.conftest import KEY, CommandLine, deliver, uploaded_keys
from tests.harness import UPLOADS, Harness, make_upload

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_a_sent_file_becomes_the_job_that_was_printed(
    stack: Harness, relay: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "march.jsonl").write_bytes(make_upload(3))

    sent = relay.json("send", str(tmp_path / "march.jsonl"), "--as", "team/")
    deliver(stack, sent["key"])
    stack.finish()

    assert sent["key"] == KEY
    assert stack.manifest(KEY)["job"] == sent["job"]


def test_a_job_has_one_name_from_the_upload_on(
    stack: Harness, relay: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "March, ü.jsonl").write_bytes(make_upload(1))

    sent = relay.json("send", str(tmp_path / "March, ü.jsonl"))
    deliver(stack, sent["key"])
    stack.finish()

    assert sent["name"] == stack.manifest(sent["key"])["name"]
    assert relay.json("why", sent["name"])["job"] == sent["job"]


def test_links_in_the_folder_of_a_user_do_not_restrict_keys(
    stack: Harness, relay: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "march.jsonl").write_bytes(make_upload(2))
    (tmp_path / "team").symlink_to("/")
    monkeypatch.chdir(tmp_path)

    relay("send", "march.jsonl", "--as", KEY)

    assert KEY in uploaded_keys(stack)


def test_send_waits_for_the_end(
    stack: Harness, relay: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "march.jsonl"
    file.write_bytes(make_upload(2))
    waits: list[Callable[[], object]] = [lambda: deliver(stack, "march.jsonl")]
    monkeypatch.setattr(
        "cli.progress.sleep", lambda _seconds: waits.pop()() if waits else stack.tick()
    )

    states = relay.json_lines("send", str(file), "--wait")

    assert [states[1]["status"], states[-1]["outcome"]] == ["UPLOADED", "succeeded"]


@pytest.mark.parametrize("beside", [True, False])
def test_options_are_sent_before_the_file(
    stack: Harness, relay: CommandLine, tmp_path: Path, *, beside: bool
) -> None:
    (tmp_path / "rows.csv").write_text("question\nWhy?\n")
    name = "rows.csv.relay.toml" if beside else "mine.toml"
    (tmp_path / name).write_text(TEMPLATE)
    arguments = [] if beside else ["--options", str(tmp_path / name)]

    sent = relay.json("send", str(tmp_path / "rows.csv"), *arguments)
    deliver(stack, sent["key"])
    stack.finish()

    assert stack.manifest("rows.csv")["counts"] == {"succeeded": 1}


TEMPLATE = """
[request.params]
model = "claude-haiku-4-5"
max_tokens = 64
messages = [{ role = "user", content = "{{question}}" }]
"""


@pytest.mark.parametrize(
    ("name", "content", "sentence", "code"),
    [
        ("rows.txt", b"{}", ".xlsx or .parquet is read; docs/formats.md names", 2),
        ("folder", None, "is not a file: name files, such as", 2),
        ("rows.jsonl", b"", "is empty", 2),
        ("rows.jsonl", b"%PDF-1.7 ...", "is a PDF", 2),
        ("rows.xlsx", b"PK\x03\x04 word/document.xml", "rows.xlsx is", 2),
        ("rows.csv.relay.toml", b"x", "is an options file: pass it with --options", 2),
        ("missing.jsonl", None, "there is no file", 3),
    ],
)
def test_an_unreadable_file_is_reported_before_anything_is_sent(
    relay: CommandLine, tmp_path: Path, name: str, content: bytes | None, sentence: str, code: int
) -> None:
    good, bad = tmp_path / "good.jsonl", tmp_path / name
    good.write_bytes(make_upload(1))
    if content is not None:
        bad.write_bytes(content)
    elif name == "folder":
        bad.mkdir()

    assert_nothing_is_sent(relay, sentence, code, str(good), str(bad))


@pytest.mark.parametrize(
    ("arguments", "sentence", "code"),
    [
        (["--as", "rows.parq"], "would be ignored: give the key a suffix", 2),
        (["--as", "s3://uploads/rows.jsonl"], "write one such as team/march.jsonl", 2),
        (["--as", "/rows.jsonl"], "write one such as team/march.jsonl", 2),
        (["--as", "../"], "write one such as team/march.jsonl", 2),
        (["--options", "none.toml"], "there is no file none.toml", 3),
    ],
)
def test_an_unusable_option_is_reported_before_anything_is_sent(
    relay: CommandLine, tmp_path: Path, arguments: list[str], sentence: str, code: int
) -> None:
    (tmp_path / "rows.jsonl").write_bytes(make_upload(1))

    assert_nothing_is_sent(relay, sentence, code, str(tmp_path / "rows.jsonl"), *arguments)


@pytest.mark.parametrize("command", ["send", "check"])
def test_a_name_that_is_not_text_is_reported(
    relay: CommandLine, tmp_path: Path, command: str
) -> None:
    file = tmp_path / os.fsdecode(b"caf\xe9.jsonl")
    file.write_bytes(make_upload(1))

    result = relay(command, str(file), code=2)

    assert r"caf\udce9.jsonl' is not UTF-8: rename the file" in result.stderr


def assert_nothing_is_sent(relay: CommandLine, sentence: str, code: int, *arguments: str) -> None:
    result = relay("send", *arguments, code=code)

    assert sentence in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not relay.deployment.s3.list_objects_v2(Bucket=UPLOADS).get("Contents")


def test_an_unusable_options_file_is_reported_before_anything_is_sent(
    stack: Harness, relay: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "rows.jsonl").write_bytes(make_upload(1))
    (tmp_path / "rows.jsonl.relay.toml").write_text("modle = 1")

    result = relay("send", str(tmp_path / "rows.jsonl"), code=2)

    assert "modle" in result.stderr
    assert not stack.s3.list_objects_v2(Bucket=UPLOADS).get("Contents")
