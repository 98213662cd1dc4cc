"""`relay doctor`: each thing that is broken has its line, and the line says what to do."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cli.app import app
from cli.doctor import CHECKS, examine
from cli.doctor.stack import Stack
from functions.adapters.table import serialize
from local.simulator import Simulator, serving
from tests.cli.deployed import NOW, Account

PAGE = Path(__file__).parents[2] / "docs" / "relay.md"
type Break = Callable[[Account], object]


def of(name: str, operation: str) -> Callable[[Account], dict[str, Any]]:
    """Return the answer of an operation about the one resource whose name begins like this."""

    def answer(account: Account) -> dict[str, Any]:
        answers = account.answers[operation]
        (found,) = [each for each in answers if each.rpartition("/")[2].startswith(name)]
        answer: dict[str, Any] = answers[found]
        return answer

    return answer


def changed(name: str, operation: str, **members: Any) -> Break:
    return lambda account: of(name, operation)(account).update(members)


def replaced(operation: str, answer: Any) -> Break:
    return lambda account: account.answers.update({operation: {"": answer}})


def item(name: str, **attributes: Any) -> Break:
    stored = {"Item": serialize({"job": "relay", "item": name, **attributes})}
    return lambda account: account.answers["get_item"].update({name: stored})


def ledger_check(checked_at: str | None, problem: str | None = None) -> Break:
    """Return a change to a stack that compares its ledger: when it did so last."""

    def change(account: Account) -> None:
        variables = of("Poll", "get_function_configuration")(account)["Environment"]["Variables"]
        variables["ADMIN_SECRET_NAME"] = "their/admin-key"
        check = {"checked_at": checked_at, "problem": problem}
        item("poll", ended_at="2026-11-27T11:59:30.000Z", ledger_check=check)(account)

    return change


def alarm_on(account: Account) -> None:
    alarms = account.answers["describe_alarms"][""]["MetricAlarms"]
    next(alarm for alarm in alarms if "no-poll" in alarm["AlarmName"])["StateValue"] = "ALARM"


def alarm_muted(account: Account) -> None:
    account.answers["describe_alarms"][""]["MetricAlarms"][0]["ActionsEnabled"] = False


def statements(account: Account) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = of("SubmitRole", "get_role_policy")(account)["PolicyDocument"][
        "Statement"
    ]
    return found


def grant_narrowed(account: Account) -> None:
    grant = next(each for each in statements(account) if "s3:GetObjectVersion" in each["Action"])
    grant["Resource"] = "arn:aws:s3:::another-bucket/*"


def rule_days(account: Account) -> None:
    of("storageresults", "get_bucket_lifecycle_configuration")(account)["Rules"][1]["Expiration"][
        "Days"
    ] = 1


def old_message(account: Account) -> None:
    point = {"Timestamp": NOW, "Maximum": 9000.0}
    account.answers["get_metric_statistics"][""]["Datapoints"] = [point]


def dead(queue: str) -> Break:
    return lambda account: of(queue, "get_queue_attributes")(account)["Attributes"].update(
        ApproximateNumberOfMessages="3"
    )


def mapping_disabled(account: Account) -> None:
    of("SubmitFunction", "list_event_source_mappings")(account)["EventSourceMappings"][0][
        "State"
    ] = "Disabled"


BROKEN: dict[str, tuple[Break, str, str]] = {
    "a deploy that was rolled back": (
        replaced("describe_stacks", {"Stacks": [{"StackStatus": "UPDATE_ROLLBACK_COMPLETE"}]}),
        "stack",
        "fix the cause and run `make deploy`",
    ),
    "another version": (
        lambda account: account.outputs.update(Version="0.1.0+00000000"),
        "version",
        "version 0.1.0+00000000 is deployed, this clone is",
    ),
    "a version before versions": (
        lambda account: account.outputs.pop("Version"),
        "version",
        "a version without a number is deployed",
    ),
    "an output that an earlier version lacks": (
        lambda account: account.outputs.pop("AlarmsTopicArn"),
        "subscriptions",
        "has no output AlarmsTopicArn: it was deployed by an earlier version",
    ),
    "a function that failed": (
        changed("Poll", "get_function_configuration", State="Failed", StateReason="no role"),
        "functions",
        "poll is Failed (no role): run `make deploy`",
    ),
    "a failed update": (
        changed("Results", "get_function_configuration", LastUpdateStatus="Failed"),
        "functions",
        "the last update of results failed",
    ),
    "a function that is gone": (
        replaced("get_function_concurrency", "ResourceNotFoundException"),
        "functions",
        "AWS refused GetFunctionConcurrency",
    ),
    "a stopped function": (
        changed("Submit", "get_function_concurrency", ReservedConcurrentExecutions=0),
        "functions",
        "submit is stopped, its reserved concurrency is 0",
    ),
    "an account with little concurrency": (
        replaced(
            "get_account_settings",
            {"AccountLimit": {"ConcurrentExecutions": 10, "UnreservedConcurrentExecutions": 5}},
        ),
        "concurrency",
        "request a higher quota for Lambda",
    ),
    "no key yet": (
        replaced("get_secret_value", {"SecretString": "not-set-yet"}),
        "api key",
        "holds no API key yet: `aws secretsmanager put-secret-value",
    ),
    "a key in typographic quotes": (
        replaced("get_secret_value", {"SecretString": "“sk-ant-key”"}),
        "api key",
        "holds text that cannot be an API key: `aws secretsmanager",
    ),
    "JSON without a key": (
        replaced("get_secret_value", {"SecretString": '{"KEY": "sk"}'}),
        "api key",
        'the secret is JSON without "ANTHROPIC_API_KEY"',
    ),
    "a deleted secret": (
        replaced("get_secret_value", "ResourceNotFoundException"),
        "api key",
        "AWS refused GetSecretValue",
    ),
    "sending is paused": (
        item("sending", paused_reason="billing", paused_at="2026-11-27T10:00:00.000Z"),
        "sending",
        "paused since 2026-11-27T10:00:00.000Z: Anthropic rejects creates for billing reasons",
    ),
    "a disabled schedule": (
        changed("PollSchedule", "get_schedule", State="DISABLED"),
        "schedules",
        "is DISABLED: enable it in EventBridge Scheduler",
    ),
    "poll is silent": (
        item("poll", ended_at="2026-11-27T11:54:00.000Z"),
        "poll",
        "poll last ended at 2026-11-27T11:54:00.000Z: read its log; docs/operate.md#alarms, no-poll",
    ),
    "poll has never run": (item("poll"), "poll", "poll has never ended"),
    "a ledger that was not compared": (
        ledger_check("2026-11-27T01:00:00.000Z", problem="Anthropic rejects the admin key (status 401)"),
        "ledger check",
        "failed at 2026-11-27T01:00:00.000Z: Anthropic rejects the admin key (status 401)",
    ),
    "a ledger that was compared long ago": (
        ledger_check("2026-11-25T01:00:00.000Z"),
        "ledger check",
        "last compared at 2026-11-25T01:00:00.000Z: poll has had no time for it",
    ),
    "no notification": (
        replaced("get_bucket_notification_configuration", {}),
        "uploads",
        "add the notification s3:ObjectCreated:* for arn:aws:sqs:",
    ),
    "a disabled trigger": (
        mapping_disabled,
        "triggers",
        "the event source of submit is Disabled: enable it with `aws lambda update-event-source",
    ),
    "a deleted trigger": (
        changed("ResultsFunction", "list_event_source_mappings", EventSourceMappings=[]),
        "triggers",
        "the queue of results does not invoke it",
    ),
    "an old message": (old_message, "queues", "has waited for 2.5 hours: look at its throttles"),
    "a dead upload": (dead("StorageSubmitDead"), "dead letters", "then run `relay redrive`"),
    "a dead result": (dead("StorageResultsDead"), "dead letters", "docs/operate.md#redrive"),
    "nobody listens": (
        changed("arn:aws:sns:eu-central-1:111122223333:StorageEvents", "list_subscriptions_by_topic",
                Subscriptions=[]),
        "subscriptions",
        "the topic of events",
    ),
    "a subscription that waits": (
        changed("arn:aws:sns:eu-central-1:111122223333:AlarmsTopic", "list_subscriptions_by_topic",
                Subscriptions=[{"SubscriptionArn": "PendingConfirmation"}]),
        "subscriptions",
        "1 not confirmed to the alarms: confirm with the link",
    ),
    "an alarm": (alarm_on, "alarms", "no-poll since 2026-11-27 12:00: read docs/operate.md#alarms"),
    "an alarm without actions": (alarm_muted, "alarms", "are disabled: enable them in CloudWatch"),
    "no alarms": (
        replaced("describe_alarms", {"MetricAlarms": []}),
        "alarms",
        "the stack has no alarms: run `make deploy`",
    ),
    "a missing permission": (
        lambda account: statements(account).pop(),
        "permissions",
        "lacks dynamodb:Query on StorageTable",
    ),
    "a permission for another bucket": (
        grant_narrowed,
        "permissions",
        "lacks s3:GetObject on storageuploads",
    ),
    "a permission too many": (
        lambda account: statements(account).append(
            {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
        ),
        "permissions",
        "also has s3:* on *, which the template does not grant: remove it",
    ),
    "an explicit denial": (
        lambda account: statements(account).append(
            {"Effect": "Deny", "Action": "sns:Publish", "Resource": "*"}
        ),
        "permissions",
        "also has Deny sns:Publish on *",
    ),
    "an attached policy": (
        changed("PollRole", "list_attached_role_policies",
                AttachedPolicies=[{"PolicyName": "AdministratorAccess"}]),
        "permissions",
        "also has the policy AdministratorAccess: detach it",
    ),
    "a deleted lifecycle": (
        lambda account: account.answers["get_bucket_lifecycle_configuration"].update(
            dict.fromkeys(
                account.answers["get_bucket_lifecycle_configuration"],
                "NoSuchLifecycleConfiguration",
            )
        ),
        "buckets",
        "the lifecycle rule unfinished-multipart of storageuploads",
    ),
    "another lifecycle": (rule_days, "buckets", "the lifecycle rule work-of-done-jobs of storageresults"),
    "another encryption": (
        changed("storageresults", "get_bucket_encryption", ServerSideEncryptionConfiguration={
            "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}]}),
        "buckets",
        "the encryption of storageresults",
    ),
    "versions suspended": (
        changed("storageuploads", "get_bucket_versioning", Status="Suspended"),
        "buckets",
        "the versioning of storageuploads",
    ),
    "public access": (
        changed("storageuploads", "get_public_access_block", PublicAccessBlockConfiguration={}),
        "buckets",
        "the block of public access of storageuploads",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_has_a_line_that_says_what_to_do(name: str) -> None:
    break_it, check, advice = BROKEN[name]
    account = Account()
    break_it(account)

    lines = list(examine(Stack(account.deployment, now=NOW)))

    wrong = [line for line in lines if line.state != "ok"]
    assert {line.check for line in wrong} == {check}
    assert any(advice in line.text for line in wrong), wrong
    assert {line.state for line in wrong} == {"wrong"}


def test_poll_of_a_new_stack_may_still_have_to_run() -> None:
    account = Account()
    item("poll")(account)
    changed("Poll", "get_function_configuration", LastModified="2026-11-27T11:56:00.000+0000")(
        account
    )

    found = {line.check: line for line in examine(Stack(account.deployment, now=NOW))}["poll"]

    assert found.state == "ok"
    assert found.text.startswith("has not ended yet; the function was changed at 2026-11-27T11:56")


def test_a_healthy_stack_has_a_line_for_each_check() -> None:
    lines = list(examine(Stack(Account().deployment, now=NOW)))

    assert [(line.check, line.state) for line in lines] == [(check, "ok") for check in CHECKS]
    assert all(line.text for line in lines)


@pytest.mark.parametrize(
    ("checked_at", "text"),
    [
        (None, "not tried yet: poll does it once a day"),
        (
            "2026-11-27T01:00:00.000Z",
            "last compared at 2026-11-27T01:00:00.000Z; `relay cost` has",
        ),
    ],
)
def test_a_ledger_that_is_compared_has_a_line(checked_at: str | None, text: str) -> None:
    account = Account()
    ledger_check(checked_at)(account)

    lines = {line.check: line for line in examine(Stack(account.deployment, now=NOW))}

    assert lines["ledger check"].state == "ok"
    assert lines["ledger check"].text.startswith(text)


def test_the_policies_of_the_page_allow_what_is_called_and_no_more() -> None:
    account = Account()
    list(examine(Stack(account.deployment, now=NOW)))

    allowed = policy("doctor")

    assert account.actions - policy("read") <= allowed
    assert allowed <= account.actions


def policy(name: str) -> set[str]:
    block = re.search(rf"<!-- policy: {name} -->\n```json\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert block is not None
    actions = [statement["Action"] for statement in json.loads(block[1])["Statement"]]
    return {name for each in actions for name in ([each] if isinstance(each, str) else each)}


def test_each_check_is_broken_once() -> None:
    assert {check for _, check, _ in BROKEN.values()} == {*CHECKS} - {"credentials"}


def test_what_these_credentials_may_not_see_is_unknown_and_not_wrong() -> None:
    account = Account()
    replaced("list_role_policies", "AccessDenied")(account)

    lines = {line.check: line for line in examine(Stack(account.deployment, now=NOW))}

    assert lines["permissions"].state == "unknown"
    assert "docs/relay.md lists the policies" in lines["permissions"].text
    assert lines["buckets"].state == "ok"


@pytest.mark.parametrize(
    ("sending", "state", "words"),
    [
        ({}, "ok", "your credentials may not read the key; the last batch was accepted at"),
        ({"paused_reason": "key_refused"}, "wrong", "Anthropic rejects the API key (401)"),
    ],
)
def test_a_key_that_may_not_be_read_is_judged_by_what_was_sent(
    sending: dict[str, str], state: str, words: str
) -> None:
    account = Account()
    replaced("get_secret_value", "AccessDeniedException")(account)
    if sending:
        item("sending", paused_at="2026-11-27T10:00:00.000Z", **sending)(account)

    lines = {line.check: line for line in examine(Stack(account.deployment, now=NOW))}

    assert lines["api key"].state == state
    assert words in lines["api key"].text


@pytest.mark.parametrize(
    ("key", "state", "words"),
    [
        ("sk-local", "ok", "accepts the key"),
        ("sk-revoked", "wrong", "refuses the key (401); store another one: `aws secretsmanager"),
        ("", "wrong", "holds no API key yet"),
    ],
)
def test_the_key_is_tried_if_that_is_asked_for(
    key: str, state: str, words: str, tmp_path: Path
) -> None:
    account = Account()
    replaced("get_secret_value", {"SecretString": key})(account)
    with serving(Simulator(tmp_path)) as url:
        variables = of("PollFunction", "get_function_configuration")(account)["Environment"]
        variables["Variables"]["BASE_URL"] = url
        stack = Stack(account.deployment, calls_api=True, now=NOW)
        lines = {line.check: line for line in examine(stack)}

    assert lines["api key"].state == state
    assert words in lines["api key"].text


def relay(account: Account, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments], obj=account.deployment, env={"COLUMNS": "200"})


def test_the_exit_code_says_whether_something_is_wrong() -> None:
    account = Account()
    assert relay(account, "doctor").exit_code == 1  # long ago, poll ended

    found = json.loads(relay(account, "--json", "doctor").stdout)["checks"]

    assert [line["check"] for line in found if line["state"] == "wrong"] == ["poll"]
    printed = relay(account, "doctor").stdout
    assert re.search(r"^poll +TO DO  poll last ended at", printed, re.MULTILINE)
    assert re.search(r"^sending +ok     not paused", printed, re.MULTILINE)
    assert "sk-ant-secret" not in printed
