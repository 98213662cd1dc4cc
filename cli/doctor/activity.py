"""Checks of what the stack does: the key, sending, poll, queues, alarms."""

from __future__ import annotations

import re
import ssl
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx2
import truststore
from botocore.exceptions import ClientError

from cli.doctor.stack import Diagnosis, Stack, last_part
from cli.errors import DENIED_CODES
from functions.adapters.secret import UNSET_KEY, is_key, key_of
from functions.errors import KeyMissingError
from functions.model import timestamps
from functions.model.create_response import KEY_PROBLEMS, PAUSE_MESSAGES

if TYPE_CHECKING:
    from collections.abc import Iterator

_REFUSED = (401, 403)
_MINUTE = timedelta(minutes=1)
_MIN_SILENCE_MINUTES = 5
_OLD_MESSAGE_S = 3600
"""As the alarms have it: infra/alarms.py."""
_MAX_CHECK_AGE = timedelta(days=2)
_RATE = re.compile(r"rate\((\d+) (minute|hour|day)s?\)")
_MINUTES = {"minute": 1, "hour": 60, "day": 1440}
_ANCHORS = {"paused": "troubleshoot.md#sending-is-paused-as-refused", "dead-uploads": "operate.md#redrive"}  # fmt: skip


def api_key(stack: Stack) -> Diagnosis:
    """Check that the secret holds a key, and with `calls_api` that the API accepts it."""
    name = stack.deployment.output("SecretName")
    put = (
        f"`aws secretsmanager put-secret-value --secret-id {name} --secret-string file://key.txt`"
    )
    try:
        answer = stack.deployment.secrets.get_secret_value(SecretId=name)
        key = key_of(answer.get("SecretString") or answer.get("SecretBinary", b"")).strip()
    except KeyMissingError as error:
        return Diagnosis("", [f"{error}: {put}"])
    except ClientError as error:
        if error.response["Error"]["Code"] not in DENIED_CODES:
            raise
        return _unseen_key(stack)
    if not is_key(key):
        state = "no API key yet" if key in {"", UNSET_KEY} else "text that cannot be an API key"
        return Diagnosis("", [f"the secret {name} holds {state}: {put}"])
    if stack.calls_api:
        return _try_key(key, stack, put)
    return Diagnosis(f"{name} holds a key; --call-api tries it", [])


def _unseen_key(stack: Stack) -> Diagnosis:
    """Judge a key that these credentials may not read by what the functions found."""
    reason = stack.sending.paused_reason
    if reason in KEY_PROBLEMS:
        return Diagnosis("", [PAUSE_MESSAGES[reason]])
    accepted = stack.sending.accepted_at
    last = f"the last batch was accepted at {accepted}" if accepted else "none was used yet"
    return Diagnosis(f"your credentials may not read the key; {last}", [])


def _try_key(key: str, stack: Stack, put: str) -> Diagnosis:
    base_url, version = stack.settings["BASE_URL"], stack.settings["API_VERSION"]
    headers = {"x-api-key": key, "anthropic-version": version}
    certificates = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:  # no redirects: one would send the key to another host
        answer = httpx2.get(
            f"{base_url}/v1/models?limit=1", headers=headers, verify=certificates, timeout=10.0
        )
    except httpx2.HTTPError:
        problem = (
            f"{base_url} does not answer from here: check the setting baseUrl and the network"
        )
        return Diagnosis("", [problem])
    if answer.is_success:
        return Diagnosis(f"{base_url} accepts the key", [])
    if answer.status_code in _REFUSED:
        problem = f"{base_url} refuses the key ({answer.status_code}); store another one: {put}"
    else:
        problem = f"{base_url} answers GET /v1/models with {answer.status_code}: check the setting baseUrl"
    return Diagnosis("", [problem])


def sending(stack: Stack) -> Diagnosis:
    """Check that sending is not paused."""
    state = stack.sending
    if state.paused_reason is None:
        accepted = state.accepted_at
        last = f"; the last batch was accepted at {accepted}" if accepted else ""
        return Diagnosis(f"not paused{last}", [])
    why = PAUSE_MESSAGES.get(state.paused_reason, state.paused_reason)
    next_try = f" (next try at {state.probe_at})" if state.probe_at else ""
    return Diagnosis("", [f"paused since {state.paused_at}: {why}{next_try}"])


def poll(stack: Stack) -> Diagnosis:
    """Check that poll has ended lately, which it does every minute."""
    ended_at = stack.poll_lease.ended_at
    max_silence = max(_MIN_SILENCE_MINUTES, 3 * _poll_minutes(stack)) * _MINUTE
    if ended_at is None:
        changed_at = stack.configurations["Poll"]["LastModified"]
        if stack.now - timestamps.parse(changed_at) <= max_silence:
            fine = f"has not ended yet; the function was changed at {changed_at[:16]}"
            return Diagnosis(fine, [])
        return Diagnosis("", ["poll has never ended: read its log"])
    if stack.now - timestamps.parse(ended_at) <= max_silence:
        return Diagnosis(f"last ended at {ended_at}", [])
    problem = f"poll last ended at {ended_at}: read its log; docs/operate.md#alarms, no-poll, says what may stop it"
    return Diagnosis("", [problem])


def _poll_minutes(stack: Stack) -> int:
    """Return the interval of the schedule that runs most often."""
    schedules = stack.resources("AWS::Scheduler::Schedule")
    rates = [_RATE.fullmatch(properties["ScheduleExpression"]) for _, _, properties in schedules]
    return min((int(rate[1]) * _MINUTES[rate[2]] for rate in rates if rate), default=1)


def ledger_check(stack: Stack) -> Diagnosis:
    """Check that the ledger was compared with Anthropic's usage report lately, if an admin key is set."""
    if not stack.settings.get("ADMIN_SECRET_NAME"):
        return Diagnosis("off; docs/cost.md#the-check says how to set adminSecretName", [])
    last = stack.poll_lease.ledger_check
    if last.checked_at is None:
        return Diagnosis("not tried yet: poll does it once a day", [])
    if last.problem is not None:
        return Diagnosis("", [f"failed at {last.checked_at}: {last.problem}"])
    if stack.now - timestamps.parse(last.checked_at) > _MAX_CHECK_AGE:
        problem = (
            f"last compared at {last.checked_at}: poll has had no time for it, or has yet to write the files of days "
            "that have ended; read its log"
        )
        return Diagnosis("", [problem])
    return Diagnosis(f"last compared at {last.checked_at}; `relay cost` has the difference", [])


def queues(stack: Stack) -> Diagnosis:
    """Check that no message has waited for an hour."""
    counts, problems = list[str](), list[str]()
    for name in ("Submit", "Results"):
        url, label = stack.deployment.output(f"{name}QueueUrl"), name.lower()
        age_s = _oldest_s(stack, last_part(url))
        counts.append(f"{_visible(stack, url)} for {label}")
        if age_s > _OLD_MESSAGE_S:
            problems.append(
                f"a message for {label} has waited for {age_s / 3600:,.1f} hours: look at its throttles and its log, "
                f"raise {label}Concurrency (docs/operate.md#alarms, old-{label}-messages)"
            )
    return Diagnosis(f"messages: {', '.join(counts)}", problems)


def _visible(stack: Stack, url: str) -> int:
    name: Any = "ApproximateNumberOfMessages"
    answer = stack.deployment.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[name])
    return int(answer["Attributes"][name])


def _oldest_s(stack: Stack, queue: str) -> float:
    answer = stack.metrics.get_metric_statistics(
        Namespace="AWS/SQS", MetricName="ApproximateAgeOfOldestMessage",
        Dimensions=[{"Name": "QueueName", "Value": queue}], Period=300, Statistics=["Maximum"],
        StartTime=stack.now - 15 * _MINUTE, EndTime=stack.now,
    )  # fmt: skip
    points = sorted(answer["Datapoints"], key=lambda point: point["Timestamp"])
    return float(points[-1]["Maximum"]) if points else 0.0


def dead_letters(stack: Stack) -> Diagnosis:
    """Check that no message was given up."""
    advice = {
        "Uploads": "find the cause in submit's log and fix it, then run `relay redrive`",
        "Results": "find the cause in the log of results and fix it, then purge the queue (docs/operate.md#redrive)",
    }
    problems = list[str]()
    for name, what in advice.items():
        arn = stack.deployment.output(f"Dead{name}QueueArn")
        url = stack.deployment.sqs.get_queue_url(QueueName=last_part(arn))["QueueUrl"]
        if count := _visible(stack, url):
            messages = "message is" if count == 1 else "messages are"
            problems.append(f"{count:,} {messages} in {last_part(arn)}: {what}")
    return Diagnosis("both queues are empty", problems)


def alarms(stack: Stack) -> Diagnosis:
    """Check that no alarm is on."""
    pages = stack.metrics.get_paginator("describe_alarms").paginate(
        AlarmNamePrefix=f"{stack.name}-"
    )  # fmt: skip
    found = [alarm for page in pages for alarm in page["MetricAlarms"]]
    if not found:
        return Diagnosis("", ["the stack has no alarms: run `make deploy`"])
    problems = [*_ringing(found, stack.name), *_muted(found)]
    return Diagnosis(f"none of {len(found)} is on", problems)


def _ringing(found: list[Any], stack_name: str) -> Iterator[str]:
    for alarm in found:
        if alarm["StateValue"] == "ALARM":
            name = alarm["AlarmName"].removeprefix(f"{stack_name}-")
            since = f"{alarm['StateUpdatedTimestamp']:%Y-%m-%d %H:%M}"
            yield f"{name} since {since}: read docs/{_ANCHORS.get(name, 'operate.md#alarms')}"


def _muted(found: list[Any]) -> Iterator[str]:
    muted = [alarm["AlarmName"] for alarm in found if not alarm["ActionsEnabled"]]
    if muted:
        yield f"the actions of {', '.join(muted)} are disabled: enable them in CloudWatch"
