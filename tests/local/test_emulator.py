import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from local import emulator
from local.cloud import ACCOUNT, Cloud
from local.emulator_patches import Answer, plain, ranged, whole_object
from local.errors import LocalError
from local.workspace import LOOPBACK, Home, free_port, taken

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="session")
def python() -> Path:
    return emulator.install(Home.of_clone())


def test_it_answers_as_the_account_that_nobody_has(cloud: Cloud) -> None:
    queue = cloud.sqs.create_queue(QueueName="whose")["QueueUrl"]

    assert f"/{ACCOUNT}/" in queue


def test_the_settings_of_the_user_do_not_lead_elsewhere(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "work")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://example.com")
    monkeypatch.setenv("HTTP_PROXY", "http://192.0.2.1:3128")
    monkeypatch.setenv("AWS_CA_BUNDLE", "/nonexistent")

    fresh = Cloud(cloud.endpoint)

    assert "Buckets" in fresh.s3.list_buckets()


def test_a_port_that_is_taken_is_said_to_be(python: Path, tmp_path: Path) -> None:
    port = free_port()
    with (
        closing(socket.create_server((LOOPBACK, port))),
        pytest.raises(LocalError, match=f"port {port} is another program's"),
    ):
        emulator.start(python, tmp_path, port=port)


def test_an_emulator_that_dies_shows_the_end_of_its_log(tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'no such module' >&2\nexit 3\n")
    broken.chmod(0o755)

    with pytest.raises(LocalError, match=r"(?s)emulator.log and ends:.*no such module"):
        emulator.start(broken, tmp_path, port=free_port())


def test_it_listens_on_loopback_alone(cloud: Cloud) -> None:
    port = int(cloud.endpoint.rpartition(":")[2])
    listening = {
        address
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        for address, listens in [(line.split()[1], line.split()[3] == "0A")]
        if listens and address.endswith(f":{port:04X}")
    }

    assert listening == {f"0100007F:{port:04X}"}


def whole(*_request: object) -> Answer:
    return 200, {"Content-Length": "10", "x-amz-checksum-crc32": "abc"}, b"0123456789"


def parse(asked: str, size: int) -> tuple[int, int] | None:
    first, _, last = asked.removeprefix("bytes=").partition("-")
    return (int(first), min(int(last or size), size - 1)) if int(first) < size else None


def test_a_range_of_a_whole_answer_is_cut_out_of_it() -> None:
    answer = ranged(whole, parse)("b", "k", {"range": "bytes=3-5"})

    assert answer == (206, {"Content-Length": "3", "Content-Range": "bytes 3-5/10"}, b"345")


def test_a_range_beyond_the_end_is_refused() -> None:
    status, told, _ = ranged(whole, parse)("b", "k", {"range": "bytes=10-"})

    assert (status, told["Content-Range"]) == (416, "bytes */10")


def test_an_answer_without_a_range_passes_unchanged() -> None:
    assert ranged(whole, parse)("b", "k", {}) == whole()


@pytest.mark.parametrize(
    ("said", "needed"),
    [
        ("sqs:SendMessageBatch", "sqs:SendMessage"),
        ("sqs:SendMessage", "sqs:SendMessage"),
        ("glue:GetBatch", "glue:GetBatch"),
        (None, None),
    ],
)
def test_a_batch_of_messages_needs_the_permission_of_one(
    said: str | None, needed: str | None
) -> None:
    assert plain(lambda: said)() == needed


def test_it_ends_with_the_command_that_started_it_even_if_that_is_killed(
    python: Path, tmp_path: Path
) -> None:
    port = free_port()
    script = (
        "from pathlib import Path\n"
        "from local import emulator\n"
        f"emulator.start(Path({str(python)!r}), Path({str(tmp_path)!r}), port={port})\n"
        "import os; os._exit(9)\n"
    )

    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False)  # noqa: S603 - ours

    until = time.monotonic() + 10
    while taken(port):
        assert time.monotonic() < until
        time.sleep(0.1)


@pytest.mark.parametrize(("crc32", "status"), [("yqXi8g==", 400), ("7YLNEQ==", 200)])
def test_an_object_of_parts_is_held_to_the_crc_32_of_all_of_it(crc32: str, status: int) -> None:
    asked: list[object] = []

    def complete(*given: object) -> Answer:
        asked.append(given[-1])
        return 200, {}, b""

    upload = {"parts": {2: {"body": b"cd"}, 1: {"body": b"ab"}}}
    headers = {"x-amz-checksum-type": "FULL_OBJECT", "x-amz-checksum-crc32": crc32, "other": "x"}

    answer = whole_object(complete, lambda _: upload)("b", "k", b"", {}, headers)

    assert answer[0] == status
    assert asked == ([{"other": "x"}] if status == 200 else [])
