"""The command line and the HTTP control interface."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anthropic
import pytest

from local.simulator import FAULTS, Simulator

type MakeRequests = Callable[..., list[Any]]
type SendRaw = Callable[..., tuple[int, dict[str, str], bytes]]

ROOT = Path(__file__).parents[3]


def command(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-W", "error", "-m", "local.simulator", *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    arguments = ["--folder", tmp_path / "f", "--port-file", tmp_path / "port", "--model", "mine-1"]
    with command(*arguments) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_the_command_serves_until_a_signal_and_leaves_no_files(
    running: tuple[subprocess.Popen[str], str],
    sdk: anthropic.Anthropic,
    make_requests: MakeRequests,
    tmp_path: Path,
    ending: signal.Signals,
) -> None:
    process, url = running
    client = sdk.with_options(base_url=url)
    batch = client.messages.batches.create(requests=make_requests(3))
    assert url == f"http://127.0.0.1:{(tmp_path / 'port').read_text().strip()}"
    assert len(list((tmp_path / "f").iterdir())) == 1

    began = time.monotonic()
    process.send_signal(ending)
    out, err = process.communicate(timeout=5)

    assert batch.processing_status == "in_progress"
    assert (process.returncode, out, err) == (0, "", "")
    assert time.monotonic() - began < 2, "also while the client keeps its connection"
    assert list((tmp_path / "f").iterdir()) == []


def test_a_model_given_as_an_option_is_known(
    running: tuple[subprocess.Popen[str], str],
    sdk: anthropic.Anthropic,
    make_requests: MakeRequests,
) -> None:
    client = sdk.with_options(base_url=running[1])
    batch = client.messages.batches.create(requests=[*make_requests(1, model="mine-1")])
    client.post(f"/_simulator/batches/{batch.id}/end", cast_to=object)

    (row,) = client.messages.batches.results(batch.id)
    assert row.result.type == "succeeded"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--fates", "expird=0.1"], "there is no fate 'expird'; choose from"),
        (["--fates", "expired=much"], "write a fate as NAME=SHARE"),
        (["--port", "70000"], "a port is a number from 0 to 65535, not '70000'"),
        (["--processing-seconds", "-1"], "seconds are a number from 0 up, not '-1'"),
        (["--key", "sk-local"], "write a key as KEY=WORKSPACE"),
        (["--folder", "/dev/null/x"], "Not a directory: '/dev/null/x'"),
    ],
)
def test_an_invalid_option_prints_one_sentence_and_no_traceback(
    arguments: list[str], sentence: str
) -> None:
    with command(*arguments) as process:
        out, err = process.communicate(timeout=10)

    assert process.returncode in {1, 2}
    assert sentence in err.splitlines()[-1]
    assert "Traceback" not in out + err


def control(send_raw: SendRaw, path: str, **content: object) -> dict[str, Any]:
    method = (
        "POST"
        if content or path.endswith(("reset", "end", "cancel", "delete", "archive"))
        else "GET"
    )
    _, _, told = send_raw(method, f"/_simulator/{path}", json.dumps(content) if content else None)
    answer: dict[str, Any] = json.loads(told)
    return answer


def test_control_arms_faults_and_returns_the_accounting(
    send_raw: SendRaw, client: anthropic.Anthropic, make_requests: MakeRequests
) -> None:
    assert control(send_raw, "health") == {"status": "ok"}
    assert set(control(send_raw, "faults")) == set(FAULTS)
    assert control(send_raw, "faults", name="rate_limited", times=2, retry_after=9) == {
        "done": True
    }
    with pytest.raises(anthropic.RateLimitError) as caught:
        client.messages.batches.create(requests=make_requests(1))
    assert caught.value.response.headers["retry-after"] == "9"

    told = control(send_raw, "accounting")

    assert told["armed"] == [{"name": "rate_limited", "times": 2, "left": 1}]
    assert told["creates"] == {"received": 1, "accepted": 0}
    assert told["calls"] == {"create": 1}
    assert (told["accepted"], told["accepted_params"], told["batches"]) == ({}, {}, {})


def test_control_can_end_cancel_archive_delete_and_reset(
    send_raw: SendRaw,
    simulator: Simulator,
    client: anthropic.Anthropic,
    make_requests: MakeRequests,
) -> None:
    simulator.processing_s = float("inf")
    one, two = (client.messages.batches.create(requests=make_requests(2)).id for _ in range(2))
    foreign = control(send_raw, "foreign", count=3, ended=False)["id"]
    retrieve = client.messages.batches.retrieve

    assert retrieve(foreign).request_counts.processing == 3
    control(send_raw, f"batches/{one}/end")
    assert retrieve(one).request_counts.succeeded == 2
    control(send_raw, f"batches/{two}/cancel")
    assert retrieve(two).processing_status == "canceling"
    control(send_raw, f"batches/{two}/end")
    assert retrieve(two).request_counts.canceled == 2
    control(send_raw, f"batches/{one}/archive")
    assert retrieve(one).archived_at is not None
    control(send_raw, f"batches/{two}/delete")
    with pytest.raises(anthropic.NotFoundError):
        retrieve(two)
    control(send_raw, "reset")
    assert simulator.batches() == []
    assert list(simulator.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "content", "sentence"),
    [
        ("faults", {"name": "nothing"}, "there is no fault 'nothing'"),
        ("faults", {"times": 1}, "missing required field `name`"),
        ("foreign", {"count": "many"}, "Expected `int`"),
        ("batches/nobody/end", {}, "there is no batch nobody"),
        ("nothing", {}, "no /_simulator/nothing"),
    ],
)
def test_control_explains_an_impossible_request(
    send_raw: SendRaw, path: str, content: dict[str, object], sentence: str
) -> None:
    assert sentence in control(send_raw, path, **content)["error"]["message"]


def test_control_cancels_only_batches_in_progress(send_raw: SendRaw, simulator: Simulator) -> None:
    batch_id = simulator.add_foreign(1)

    told = control(send_raw, f"batches/{batch_id}/cancel")["error"]["message"]

    assert told == f"the batch {batch_id} has ended: only one in progress can be canceled"
