import os
import socket
import subprocess
import sys
import time
import zipfile
from contextlib import closing
from contextvars import ContextVar, copy_context
from pathlib import Path
from uuid import uuid4

import pytest

from local import emulator
from local.cloud import ACCOUNT, Cloud
from local.emulator_patches import (
    Answer,
    as_single_action,
    forget_old,
    honor_range,
    keep_names,
    unpack_once,
    verify_full_object_checksum,
)
from local.errors import LocalError
from local.workspace import LOOPBACK, Workspace, free_port, port_in_use

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="session")
def python() -> Path:
    return emulator.install(Workspace.of_this_clone())


def test_resources_belong_to_the_fake_account(cloud: Cloud) -> None:
    queue = cloud.sqs.create_queue(QueueName="whose")["QueueUrl"]

    assert f"/{ACCOUNT}/" in queue


def test_the_aws_settings_of_the_user_are_ignored(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "work")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://example.com")
    monkeypatch.setenv("HTTP_PROXY", "http://192.0.2.1:3128")
    monkeypatch.setenv("AWS_CA_BUNDLE", "/nonexistent")

    fresh = Cloud(cloud.endpoint)

    assert "Buckets" in fresh.s3.list_buckets()


def test_a_port_in_use_raises_an_error_that_names_it(python: Path, tmp_path: Path) -> None:
    port = free_port()
    with (
        closing(socket.create_server((LOOPBACK, port))),
        pytest.raises(LocalError, match=f"port {port} is in use"),
    ):
        emulator.start(python, tmp_path, port=port)


def test_an_emulator_that_exits_raises_an_error_with_the_end_of_its_log(tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'no such module' >&2\nexit 3\n")
    broken.chmod(0o755)

    with pytest.raises(LocalError, match=r"(?s)emulator.log ends with:.*no such module"):
        emulator.start(broken, tmp_path, port=free_port())


def test_the_emulator_listens_only_on_loopback(cloud: Cloud) -> None:
    port = int(cloud.endpoint.rpartition(":")[2])
    listening = {
        address
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        for address, listens in [(line.split()[1], line.split()[3] == "0A")]
        if listens and address.endswith(f":{port:04X}")
    }

    assert listening == {f"0100007F:{port:04X}"}


def full_response(*_request: object) -> Answer:
    return 200, {"Content-Length": "10", "x-amz-checksum-crc32": "abc"}, b"0123456789"


def parse_range(requested: str, size: int) -> tuple[int, int] | None:
    first, _, last = requested.removeprefix("bytes=").partition("-")
    return (int(first), min(int(last or size), size - 1)) if int(first) < size else None


def test_a_range_is_cut_out_of_a_full_response() -> None:
    answer = honor_range(full_response, parse_range)("b", "k", {"range": "bytes=3-5"})

    assert answer == (206, {"Content-Length": "3", "Content-Range": "bytes 3-5/10"}, b"345")


def test_a_range_beyond_the_end_is_416() -> None:
    status, headers, _ = honor_range(full_response, parse_range)("b", "k", {"range": "bytes=10-"})

    assert (status, headers["Content-Range"]) == (416, "bytes */10")


def test_a_request_without_a_range_gets_the_full_response() -> None:
    assert honor_range(full_response, parse_range)("b", "k", {}) == full_response()


@pytest.mark.parametrize(
    ("action", "expected_action"),
    [
        ("sqs:SendMessageBatch", "sqs:SendMessage"),
        ("sqs:SendMessage", "sqs:SendMessage"),
        ("glue:GetBatch", "glue:GetBatch"),
        (None, None),
    ],
)
def test_a_batch_action_needs_the_permission_of_the_single_action(
    action: str | None, expected_action: str | None
) -> None:
    assert as_single_action(lambda: action)() == expected_action


def test_the_emulator_stops_when_its_parent_process_is_killed(
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

    deadline = time.monotonic() + 10
    while port_in_use(port):
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize(("crc32", "status"), [("yqXi8g==", 400), ("7YLNEQ==", 200)])
def test_a_multipart_upload_is_checked_against_the_crc32_of_the_full_object(
    crc32: str, status: int
) -> None:
    forwarded_headers: list[object] = []

    def complete(*arguments: object) -> Answer:
        forwarded_headers.append(arguments[-1])
        return 200, {}, b""

    upload = {"parts": {2: {"body": b"cd"}, 1: {"body": b"ab"}}}
    headers = {"x-amz-checksum-type": "FULL_OBJECT", "x-amz-checksum-crc32": crc32, "other": "x"}

    answer = verify_full_object_checksum(complete, lambda _: upload)("b", "k", b"", {}, headers)

    assert answer[0] == status
    assert forwarded_headers == ([{"other": "x"}] if status == 200 else [])


def test_equal_archives_are_unpacked_once(tmp_path: Path) -> None:
    archives = {"first": "1", "equal": "1", "other": "2"}
    code = {}
    for name, content in archives.items():
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            archive.writestr(zipfile.ZipInfo("index.py"), content)
        code[name] = tmp_path / name
        code[name].mkdir()
    unpacking = unpack_once(tmp_path / "unpacked")

    for name, folder in code.items():
        with unpacking(tmp_path / f"{name}.zip") as archive:
            archive.extractall(folder)

    assert {name: (folder / "index.py").read_text() for name, folder in code.items()} == archives
    assert code["first"].samefile(code["equal"])
    assert not code["first"].samefile(code["other"])


def test_a_bucket_keeps_its_name_at_each_start() -> None:
    def named() -> str:
        seed = ContextVar("seed", default="")
        create = keep_names(lambda logical_id: f"{logical_id}-{seed.get() or uuid4()}", seed)
        return str(copy_context().run(create, "uploads"))

    assert named() == named()


def test_only_the_newest_archives_stay_unpacked(tmp_path: Path) -> None:
    for number in range(4):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "index.py").write_text("")
        os.utime(folder, (number, number))

    forget_old(tmp_path, kept=2)

    assert {path.name for path in tmp_path.iterdir()} == {"2", "3"}
