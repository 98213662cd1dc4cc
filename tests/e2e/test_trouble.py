"""Jobs under trouble: answers lost, settings changed, canceled halfway, the key missing."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.assembly import Assembly
from local.cloud import Cloud
from local.deploy import deploy as update
from tests.e2e.conftest import STACK, Deploy
from tests.e2e.relay import Relay, jsonl, kinds, rows, wait_until_idle


def test_a_create_whose_answer_is_lost_is_adopted(relay: Relay) -> None:
    creates = relay.simulator.calls().get("create", 0)
    relay.simulator.arm("lost_answer")

    upload = relay.upload("lost.jsonl", jsonl(rows(7, "lost")))
    relay.finish(upload)

    assert kinds(relay.lines(upload)) == ["succeeded"] * 7
    assert relay.simulator.calls()["create"] - creates == 1
    [batch] = relay.manifest(upload)["batches"]
    assert batch["batch_id"] in {listed["id"] for listed in relay.simulator.batches()}


def test_a_lost_create_is_not_confused_with_a_foreign_batch_of_the_same_size(
    relay: Relay,
) -> None:
    creates = relay.simulator.calls().get("create", 0)
    foreign = relay.simulator.add_foreign(6)
    relay.simulator.arm("bad_gateway_after_accept")

    upload = relay.upload("foreign.jsonl", jsonl(rows(6, "foreign")))
    relay.finish(upload)

    [batch] = relay.manifest(upload)["batches"]
    assert batch["batch_id"] != foreign
    assert relay.simulator.calls()["create"] - creates == 1


@pytest.fixture
def restored_settings(deploy: Deploy, cloud: Cloud, outputs: dict[str, str]) -> Iterator[None]:
    """Restore the settings from their assembly, which takes a second."""
    yield
    wait_until_idle(cloud, outputs)
    update(cloud, Assembly(STACK, deploy.template))


def with_small_batches(deploy: Deploy, file: Path) -> Assembly:
    """Return the assembly that `requestsPerBatch=10` would give, which takes 15 s to synthesize."""
    template = json.loads(deploy.template.read_bytes())
    for resource in template["Resources"].values():
        variables = resource.get("Properties", {}).get("Environment", {}).get("Variables", {})
        if "REQUESTS_PER_BATCH" in variables:
            variables["REQUESTS_PER_BATCH"] = "10"
    file.write_text(json.dumps(template), encoding="utf-8")
    return Assembly(STACK, file)


@pytest.mark.usefixtures("restored_settings")
def test_a_deploy_does_not_affect_a_running_job(
    relay: Relay, deploy: Deploy, tmp_path: Path
) -> None:
    relay.simulator.processing_s = 3600
    before = relay.upload("before.jsonl", jsonl(rows(30, "before")))
    relay.poll_until(lambda: relay.deliveries_of(before, "job.planned"), "the first job's plan")

    wait_until_idle(relay.cloud, relay.outputs)
    update(relay.cloud, with_small_batches(deploy, tmp_path / "small.json"))
    relay.end_lease("relay", "poll")
    relay.simulator.processing_s = 1
    after = relay.upload("after.jsonl", jsonl(rows(30, "after")))
    relay.poll_until(lambda: relay.deliveries_of(after, "job.planned"), "the second job's plan")
    for batch in relay.simulator.batches():
        if batch["processing_status"] == "in_progress":
            relay.simulator.end(str(batch["id"]))
    relay.finish(before, after)

    assert [batch["requests"] for batch in relay.manifest(before)["batches"]] == [30]
    assert [batch["requests"] for batch in relay.manifest(after)["batches"]] == [10, 10, 10]


def test_a_canceled_job_delivers_its_finished_results(relay: Relay) -> None:
    relay.simulator.processing_s = 60
    upload = relay.upload("cancel.jsonl", jsonl(rows(100, "cancel")))
    relay.poll_until(relay.open_batches, "the batch")
    time.sleep(2)  # of the minute that all would take

    relay.upload("cancel.jsonl.cancel", b"")
    relay.finish(upload)

    counted = Counter(kinds(relay.lines(upload)))
    assert counted["canceled"] > 0
    assert counted["succeeded"] > 0
    assert sum(counted.values()) == 100
    [delivery] = relay.deliveries_of(upload, "job.completed")
    assert delivery.attributes["outcome"] == "canceled"


def test_sending_pauses_without_an_api_key_and_resumes_with_one(relay: Relay) -> None:
    try:
        relay.set_key("not-set-yet")
        relay.restart_functions()
        upload = relay.upload("keyless.jsonl", jsonl(rows(4, "keyless")))
        relay.poll_until(
            lambda: relay.deliveries_about_sending("sending.paused"),
            "an event that says why",
            timeout_s=150,
        )
    finally:
        relay.set_key("sk-local")
    relay.finish(upload, timeout_s=300)

    [paused] = {
        delivery.event["id"]: delivery
        for delivery in relay.deliveries_about_sending("sending.paused")
    }.values()
    assert "key" in paused.event["data"]["message"]
    assert relay.deliveries_about_sending("sending.resumed")
    assert kinds(relay.lines(upload)) == ["succeeded"] * 4
