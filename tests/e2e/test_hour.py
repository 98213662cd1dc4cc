"""An hour with the relay: the steps of docs/hour.md, in its order, in the local cloud, by `./relay` alone.

`make hour` runs it, in a few minutes. The page must be what this run printed.
"""

import json
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.request import urlopen

import pytest

from functions.adapters.spending import Spending
from functions.adapters.table import Table
from local import environment, subscriber
from local.workspace import LOOPBACK, Workspace
from tests.e2e.hour import PAGE, ROOT, WRITTEN, Hour
from tests.harness import s3_event

MARCH, APRIL, MAY = "team/march.jsonl", "team/april.jsonl", "team/may.jsonl"
ROWS, REJECTED = 1000, 12
ENDED = r": (succeeded|partial|canceled)|^  "
"""The lines that say how a job ended; those before it differ from run to run."""
FIRST_ATTEMPTS = r"^batch |^\d+-1 |^\. waits"
"""The lines of `relay diagram` without later attempts, whose number differs from run to run."""
MENDED = "^(api key|schedules|uploads|triggers|dead letters|subscriptions|permissions) "
"""The lines of `relay doctor` about what was broken."""
ROUNDING = Decimal("0.00001")
"""Each manifest rounds its cost to a millionth."""


@pytest.fixture
def hour() -> Iterator[Hour]:
    """The files, in a folder with a short name, because paths are printed in a column."""
    workspace = Workspace.of_this_clone()
    assert environment.peek(workspace) is None, "a local cloud is up: run `make down` first"
    with TemporaryDirectory() as folder:
        subprocess.run([sys.executable, ROOT / "examples/hour/make_files.py", folder], check=True)  # noqa: S603
        yield Hour(Path(folder))
        environment.stop(workspace)


def start(hour: Hour) -> None:
    hour("relay local up", keep=r"^(The local cloud|endpoint|uploads|results|events)")


def check(hour: Hour) -> None:
    hour("head -n 1 march.jsonl")
    hour("cat march.jsonl.relay.toml")
    hour("relay check march.jsonl", code=1)

    [checked] = hour.json("relay check march.jsonl")["files"]
    assert (checked["rows"], checked["requests"]) == (ROWS, ROWS - REJECTED)
    assert {code: kind["rows"] for code, kind in checked["rejected"].items()} == {
        "invalid_json": 10,
        "unsupported_parameter": 2,
    }
    assert checked["waiting_for"] == "budget"
    hour.figures.append(("`check`", "worst case", checked["estimate"]["cost_usd"]["worst"]))


def send(hour: Hour) -> None:
    hour("relay send march.jsonl --as team/")
    hour.jobs[MARCH] = wait_until_held(hour, MARCH, "budget")
    hour("relay ls --running")


def why(hour: Hour) -> None:
    hour(f"relay why {MARCH}")

    cost = hour.document(MARCH, "status.json")["estimate"]["cost_usd"]
    assert cost["low"] is cost["expected"] is None
    hour.figures.append(("estimate of March", "worst case", cost["worst"]))


def pilot(hour: Hour) -> None:
    following = hour.start("relay events")
    assert following.stdout is not None
    following.stdout.readline()  # it listens
    with subscriber.subscribe(hour.environment.cloud, hour.outputs["EventsTopicArn"]) as queue:
        hour(f"relay go {MARCH}")
        wait_until_held(hour, MARCH, "go")
        hour(f"relay why {MARCH}")
        events = [delivery.event for delivery in queue.receive(wait_s=5)]
    following.send_signal(signal.SIGINT)
    hour.end(following, "relay events", keep=r"job\.pilot")

    [measured] = [each["data"] for each in events if each["type"].endswith("job.pilot")]
    assert (measured["rows"], measured["rest_rows"]) == (20, ROWS - REJECTED - 20)
    hour.figures += [
        ("pilot of March", "20 rows", measured["cost_usd"]),
        ("pilot of March", "projection of the rest", measured["rest_cost_usd"]),
    ]


def finish(hour: Hour) -> None:
    hour(f"relay go {MARCH}")
    hour(f"relay watch {MARCH}", code=1, keep=ENDED)
    hour(f"relay diagram {MARCH}", keep=FIRST_ATTEMPTS)


def get(hour: Hour) -> None:
    hour(f"relay get {MARCH} --into results")

    [folder] = (hour.folder / "results" / "team" / "march").iterdir()
    manifest = json.loads((folder / "manifest.json").read_bytes())
    for entry in manifest["files"].values():
        body = (folder / entry["uri"].rpartition(f"{hour.jobs[MARCH]}/")[2]).read_bytes()
        assert zlib.crc32(body) == int(entry["crc32"], 16)
    lines = (folder / "results.jsonl").read_bytes().splitlines()
    assert [json.loads(line)["row"] for line in lines] == list(range(1, ROWS + 1))
    assert b"<html" in (folder / "report.html").read_bytes()
    hour.figures.append(("March", "cost in the manifest", manifest["cost_usd"]))


def cancel(hour: Hour) -> None:
    hour("relay send april.jsonl --as team/")
    hour.jobs[APRIL] = wait_until_held(hour, APRIL, "budget")
    hour(f"relay why {APRIL}")
    estimate = hour.document(APRIL, "status.json")["estimate"]["cost_usd"]
    hour.figures += [("estimate of April", case, estimate[case]) for case in estimate]

    hour(f"relay cancel {APRIL}")
    hour(f"relay watch {APRIL}", code=1, keep=ENDED)
    assert hour.document(APRIL, "manifest.json")["cost_usd"] == 0


def retry(hour: Hour) -> None:
    """Send the rows of April after all. The new job has its options, so it is held by the same budget."""
    hour(f"relay retry {APRIL}")
    key = f"team/april-retry-{hour.jobs[APRIL][:8]}.jsonl"
    hour.jobs[key] = wait_until_held(hour, key, "budget")
    hour(f"relay go {key}")
    hour(f"relay watch {key}", code=1, keep=ENDED)


def lose(hour: Hour) -> None:
    """Delete the results of March, then what they were joined from, too."""
    folder = f"team/march/{hour.jobs[MARCH]}"
    before = (hour.folder / "results" / folder / "results.jsonl").read_bytes()
    delete(hour, f"results/{folder}/results.jsonl")
    hour(f"relay reassemble {MARCH}")
    hour(f"relay watch {MARCH}", code=1, keep=ENDED)
    batches = [entry["batch"] for entry in hour.document(MARCH, "manifest.json")["batches"]]
    last_attempts = {name.partition("-")[0]: name for name in sorted(batches)}
    for name in last_attempts.values():
        delete(hour, f"work/{hour.jobs[MARCH]}/{name}/", ".results.")
    delete(hour, f"results/{folder}/results.jsonl")
    hour(f"relay recollect {MARCH}")
    hour(f"relay watch {MARCH}", code=1, keep=ENDED)
    hour(f"relay get {MARCH} --into again")

    assert (hour.folder / "again" / folder / "results.jsonl").read_bytes() == before


def examine(hour: Hour) -> None:
    subscribe(hour)
    hour("relay doctor")
    hour.mends = [break_(hour) for break_ in FAULTS]
    hour("relay doctor", code=1, keep="TO DO|^  ")


def redrive(hour: Hour) -> None:
    for mend in hour.mends:
        mend()
    hour("relay redrive")
    hour(f"relay watch {MAY}", keep=ENDED)
    hour("relay doctor", keep=MENDED)


def cost(hour: Hour) -> None:
    hour("relay ls")
    hour("relay cost")


def wait_until_held(hour: Hour, key: str, reason: str) -> str:
    """Poll until status.json says what a job waits for. Return the id of the job."""
    found = ""

    def is_held() -> bool:
        nonlocal found
        known = hour.json(f"relay why {key}")
        found = known.get("job", "")
        return any(wait["reason"] == reason for wait in known.get("waiting", ()))

    hour.poll_until(is_held, f"{key} to wait for {reason}")
    return found


def delete(hour: Hour, prefix: str, part: str = "") -> None:
    """Delete the objects of the results bucket with a prefix and this part in their keys."""
    s3, bucket = hour.environment.cloud.s3, hour.outputs["ResultsBucket"]
    keys = [each["Key"] for each in s3.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]]
    deleted = [s3.delete_object(Bucket=bucket, Key=key) for key in keys if part in key]
    assert deleted


def subscribe(hour: Hour) -> None:
    """Subscribe a queue to both topics, as a team would with its mail or its chat."""
    cloud = hour.environment.cloud
    url = cloud.sqs.create_queue(QueueName="team")["QueueUrl"]
    attributes = cloud.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    for topic in ("EventsTopicArn", "AlarmsTopicArn"):
        cloud.sns.subscribe(
            TopicArn=hour.outputs[topic],
            Protocol="sqs",
            Endpoint=attributes["Attributes"]["QueueArn"],
        )


def no_subscription(hour: Hour) -> Callable[[], object]:
    sns, topic = hour.environment.cloud.sns, hour.outputs["EventsTopicArn"]
    [subscription] = sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    sns.unsubscribe(SubscriptionArn=subscription["SubscriptionArn"])
    return lambda: sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=subscription["Endpoint"])


def no_schedule(hour: Hour) -> Callable[[], object]:
    client = hour.environment.cloud.connect("scheduler")
    names = [entry["Name"] for entry in client.list_schedules()["Schedules"]]
    schedules = [client.get_schedule(Name=name) for name in names]
    [every_minute] = [each for each in schedules if each["ScheduleExpression"] == "rate(1 minute)"]
    members = ("Name", "ScheduleExpression", "FlexibleTimeWindow", "Target")
    schedule = {name: every_minute[name] for name in members}
    client.update_schedule(**schedule, State="DISABLED")
    return lambda: client.update_schedule(**schedule, State="ENABLED")


def no_key(hour: Hour) -> Callable[[], object]:
    secrets, name = hour.environment.cloud.secrets, hour.outputs["SecretName"]
    key = secrets.get_secret_value(SecretId=name)["SecretString"]
    secrets.put_secret_value(SecretId=name, SecretString=" ")
    return lambda: secrets.put_secret_value(SecretId=name, SecretString=key)


def no_trigger(hour: Hour) -> Callable[[], object]:
    functions, name = hour.environment.cloud.functions, hour.outputs["ResultsFunctionName"]
    [mapping] = functions.list_event_source_mappings(FunctionName=name)["EventSourceMappings"]
    functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    return lambda: functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True)


def no_notification(hour: Hour) -> Callable[[], object]:
    s3, bucket = hour.environment.cloud.s3, hour.outputs["UploadsBucket"]
    answer = s3.get_bucket_notification_configuration(Bucket=bucket)
    before: Any = {"QueueConfigurations": answer["QueueConfigurations"]}
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={})
    return lambda: s3.put_bucket_notification_configuration(
        Bucket=bucket, NotificationConfiguration=before
    )


def a_dead_letter(hour: Hour) -> Callable[[], object]:
    """Send a file of which S3 says nothing, and put its message where SQS puts those that failed three times."""
    sent = hour.json(f"relay send may.jsonl --as {MAY}")
    hour.jobs[MAY] = sent["job"]
    cloud, bucket = hour.environment.cloud, hour.outputs["UploadsBucket"]
    head = cloud.s3.head_object(Bucket=bucket, Key=MAY)
    message = s3_event(
        bucket, MAY, head["ContentLength"], head["VersionId"], head["LastModified"].isoformat()
    )
    queue = hour.outputs["DeadUploadsQueueArn"].rpartition(":")[2]
    url = cloud.sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    cloud.sqs.send_message(QueueUrl=url, MessageBody=message)
    return lambda: None  # `relay redrive` mends it


def no_permission(hour: Hour) -> Callable[[], object]:
    """Take sns:Publish away from the role of results."""
    iam = hour.environment.cloud.connect("iam")
    configuration = hour.environment.cloud.functions.get_function_configuration(
        FunctionName=hour.outputs["ResultsFunctionName"]
    )
    role = configuration["Role"].rpartition("/")[2]
    for name in iam.list_role_policies(RoleName=role)["PolicyNames"]:
        document = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
        kept = [each for each in document["Statement"] if "sns:Publish" not in each["Action"]]
        if len(kept) < len(document["Statement"]):
            break
    else:
        pytest.fail("no policy of results has sns:Publish")
    changed = {**document, "Statement": kept}
    iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(changed))
    return lambda: iam.put_role_policy(
        RoleName=role, PolicyName=name, PolicyDocument=json.dumps(document)
    )


FAULTS = (
    no_subscription,
    no_schedule,
    no_key,
    no_trigger,
    no_notification,
    a_dead_letter,
    no_permission,
)


def bill(hour: Hour) -> None:
    """Compare manifests, ledger and counters with what the simulator bills."""
    port = Workspace.of_this_clone().port("simulator")
    with urlopen(f"http://{LOOPBACK}:{port}/_simulator/bill") as answer:
        billed = json.loads(answer.read())
    ledger = hour.json("relay cost")
    cloud = hour.environment.cloud
    counters = Spending(Table(hour.outputs["TableName"], cloud.tables)).counters(ledger["month"])
    spent = Decimal(sum(counter.micro_usd for counter in counters)) / 1_000_000
    manifests = sum(
        Decimal(str(hour.document(key, "manifest.json")["cost_usd"])) for key in hour.jobs
    )
    usd = Decimal(str(billed["usd"]))
    assert billed["unpriced"] == {}
    assert usd > 1
    for sums in (manifests, Decimal(ledger["total"]["cost_usd_known"]), spent):
        assert abs(sums - usd) < ROUNDING
    hour.figures += [
        ("all jobs", "sum of the manifests", float(manifests)),
        ("all jobs", "`relay cost`, from the ledger", float(ledger["total"]["cost_usd_known"])),
        ("all jobs", "counters of the budgets", float(spent)),
        ("all jobs", "the simulator's own bill", float(usd)),
    ]


def stop(hour: Hour) -> None:
    hour("relay local down")


STEPS = (
    start,
    check,
    send,
    why,
    pilot,
    finish,
    get,
    cancel,
    retry,
    lose,
    examine,
    redrive,
    cost,
    bill,
    stop,
)


@pytest.mark.hour
def test_an_hour_with_the_relay(hour: Hour) -> None:
    hour.play(STEPS)

    page = hour.page()
    WRITTEN.write_text(page, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == page, f"the page differs: cp {WRITTEN} {PAGE}"
