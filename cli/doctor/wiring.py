"""Checks of what connects the parts: functions, schedules, notifications, queues, subscriptions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cli.doctor.stack import FUNCTIONS, Diagnosis, last_part

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cli.doctor.stack import Stack

_CREATED = "s3:ObjectCreated:*"


def functions(stack: Stack) -> Diagnosis:
    """Check that each function is active, its last update succeeded, and it is not stopped."""
    problems = [problem for name in FUNCTIONS for problem in _of_function(stack, name)]
    changed = max(stack.configurations[name]["LastModified"] for name in FUNCTIONS)
    return Diagnosis(f"{len(FUNCTIONS)} are active, last changed {changed[:16]}", problems)


def _of_function(stack: Stack, name: str) -> Iterator[str]:
    configuration, label = stack.configurations[name], name.lower()
    state, update = configuration.get("State", "Active"), configuration.get("LastUpdateStatus")
    if state not in {"Active", "Inactive"}:
        yield f"{label} is {state} ({configuration.get('StateReason', 'no reason')}): run `make deploy`"
    if update == "Failed":
        reason = configuration.get("LastUpdateStatusReason", "no reason")
        yield f"the last update of {label} failed ({reason}): run `make deploy`"
    answer = stack.deployment.functions.get_function_concurrency(FunctionName=stack.function(name))
    if answer.get("ReservedConcurrentExecutions") == 0:
        yield f"{label} is stopped, its reserved concurrency is 0: delete that in the Lambda console"


def schedules(stack: Stack) -> Diagnosis:
    """Check that the schedules of poll and of the daily search are enabled."""
    client = stack.deployment.connect("scheduler")
    names = [last_part(name) for _, name, _ in stack.resources("AWS::Scheduler::Schedule")]
    found = [client.get_schedule(Name=name) for name in names]
    problems = [
        f"the schedule {schedule['Name']} is {schedule['State']}: enable it in EventBridge Scheduler"
        for schedule in found
        if schedule["State"] != "ENABLED"
    ]
    rates = ", ".join(schedule["ScheduleExpression"] for schedule in found)
    return Diagnosis(f"{len(found)} are enabled: {rates}", problems)


def notification(stack: Stack) -> Diagnosis:
    """Check that S3 announces new objects to submit's queue."""
    bucket, queue = stack.deployment.uploads, stack.queue_arn("Submit")
    answer = stack.deployment.s3.get_bucket_notification_configuration(Bucket=bucket)
    configured = answer.get("QueueConfigurations", [])
    if any(each["QueueArn"] == queue and _CREATED in each["Events"] for each in configured):
        return Diagnosis(f"{bucket} announces new objects to submit's queue", [])
    problem = (
        f"{bucket} does not announce new objects to submit's queue: add the notification {_CREATED} for {queue} again; "
        "the daily search then claims the uploads of the last 14 days"
    )
    return Diagnosis("", [problem])


def triggers(stack: Stack) -> Diagnosis:
    """Check that each queue invokes its function."""
    problems = [problem for name in ("Submit", "Results") for problem in _of_queue(stack, name)]
    return Diagnosis("both queues invoke their functions", problems)


def _of_queue(stack: Stack, name: str) -> Iterator[str]:
    label, queue = name.lower(), stack.queue_arn(name)
    answer = stack.deployment.functions.list_event_source_mappings(
        FunctionName=stack.function(name)
    )
    found: Any = next(
        (each for each in answer["EventSourceMappings"] if each.get("EventSourceArn") == queue),
        None,
    )
    if found is None:
        yield f"the queue of {label} does not invoke it: run `make deploy`, or add its event source again"
    elif found["State"] not in {"Enabled", "Enabling", "Updating"}:
        yield (
            f"the event source of {label} is {found['State']}: enable it with `aws lambda "
            f"update-event-source-mapping --enabled --uuid {found['UUID']}`"
        )


def subscriptions(stack: Stack) -> Diagnosis:
    """Check that the topics of events and alarms have confirmed subscribers."""
    topics = {
        "events": (stack.deployment.topic, "docs/subscribe.md shows how"),
        "alarms": (stack.deployment.output("AlarmsTopicArn"), "set alarmEmail, or subscribe to it"),
    }  # fmt: skip
    counts, problems = list[str](), list[str]()
    for name, (topic, advice) in topics.items():
        confirmed, pending = _subscribers(stack, topic)
        counts.append(f"{confirmed} to the {name}")
        if pending:
            problems.append(
                f"{pending} not confirmed to the {name}: confirm with the link in the mail"
            )
        elif not confirmed:
            problems.append(
                f"the topic of {name}, {last_part(topic)}, has no subscriber: {advice}"
            )
    return Diagnosis(", ".join(counts), problems)


def _subscribers(stack: Stack, topic: str) -> tuple[int, int]:
    pages = stack.deployment.sns.get_paginator("list_subscriptions_by_topic").paginate(
        TopicArn=topic
    )
    arns = [each["SubscriptionArn"] for page in pages for each in page["Subscriptions"]]
    confirmed = sum(arn.startswith("arn:") for arn in arns)
    return confirmed, len(arns) - confirmed
