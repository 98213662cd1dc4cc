"""Define the alarms: what each one watches, and what to do about it.

docs/operate.md has one row per alarm, under the same name. Each of the thirteen alarms watches one
metric, so it identifies one function, queue or state. CloudWatch's free tier covers ten alarms.
"""

from aws_cdk import Duration, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra.poll import Poll
from infra.relay_metric import relay_metric
from infra.results import Results
from infra.settings import StackSettings
from infra.stage import Stage
from infra.storage import Storage
from infra.submit import Submit

_ABOVE = cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD
_BELOW = cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD


class Alarms(Construct):
    """The alarms and the topic that they publish to."""

    def __init__(
        self,
        scope: Construct,
        *,
        settings: StackSettings,
        storage: Storage,
        submit: Submit,
        poll: Poll,
        results: Results,
    ) -> None:
        super().__init__(scope, "Alarms")
        self.service = settings.stack_name
        self.all: list[cloudwatch.IAlarm] = []
        self.topic = self._topic(settings.alarm_email)
        self._dead_letters(storage, poll)
        self._old_messages(storage)
        self._no_poll(settings.poll_minutes)
        self._sending_and_batches()
        self._function_errors("submit", submit)
        self._function_errors("results", results)

    def _topic(self, email: str | None) -> sns.Topic:
        """Create the topic. Only alarms of this account may publish to it."""
        topic = sns.Topic(self, "Topic", enforce_ssl=True)
        topic.add_to_resource_policy(
            iam.PolicyStatement(
                sid="AllowCloudWatchAlarms",
                principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com")],
                actions=["sns:Publish"],
                resources=[topic.topic_arn],
                conditions={"StringEquals": {"aws:SourceAccount": Stack.of(self).account}},
            )
        )
        if email:
            sns.Subscription(
                self,
                "Email",
                topic=topic,
                protocol=sns.SubscriptionProtocol.EMAIL,
                endpoint=email,
            )
        return topic

    def _dead_letters(self, storage: Storage, poll: Poll) -> None:
        self._when_not_empty(
            "dead-uploads",
            storage.submit_dead,
            "A message failed for days. An upload in this queue is not being processed: read submit's "
            "log, fix the cause, then redrive the queue.",
        )
        self._when_not_empty(
            "dead-results",
            storage.results_dead,
            "Collecting or assembling failed for days. Poll sends new messages: read the log of results, "
            "fix the cause, then purge the queue.",
        )
        self._when_not_empty(
            "missed-polls",
            poll.failed_polls,
            "A run of poll, or submit's daily search for uploads without a job, failed or never started. "
            "The next run does its work: read both logs if this repeats. The queue empties within the hour.",
        )

    def _old_messages(self, storage: Storage) -> None:
        for name, queue in (
            ("submit", storage.submit_queue),
            ("results", storage.results_queue),
        ):
            self._alarm(
                f"old-{name}-messages",
                queue.metric_approximate_age_of_oldest_message(
                    period=Duration.minutes(5), statistic="Maximum"
                ),
                f"A message for {name} has waited for an hour: too few invocations, or each one fails. Look at "
                f"the throttles of {name}, raise {name}Concurrency, and read its log.",
                above=3600,
            )

    def _no_poll(self, poll_minutes: int) -> None:
        minutes = max(5, 3 * poll_minutes)
        self._alarm(
            "no-poll",
            relay_metric(self.service, "PollSucceeded", "Sum", Duration.minutes(minutes)),
            f"No run of poll has reached its end for {minutes} minutes: no batch is sent and no result is "
            "noticed. Read poll's log; check that its schedule is enabled and the function not throttled.",
            below=1,
            missing=cloudwatch.TreatMissingData.BREACHING,
        )
        self._alarm(
            "silent-api",
            relay_metric(self.service, "SilentMinutes", "Maximum", Duration.minutes(minutes)),
            "Anthropic has not answered a listing of batches for an hour. Look at status.anthropic.com, and "
            "read poll's log; check baseUrl if it was changed. The relay resumes automatically.",
            above=60,
        )

    def _sending_and_batches(self) -> None:
        hour = Duration.hours(1)
        self._alarm(
            "old-batch",
            relay_metric(self.service, "OldestBatchHours", "Maximum", Duration.minutes(15)),
            "A batch is unfinished 26 hours after its first create; Anthropic ends each within 24. Read "
            "poll's log, and look for the batch in the Claude Console.",
            above=26,
        )
        self._alarm(
            "paused",
            relay_metric(self.service, "Paused", "Maximum", Duration.minutes(5)),
            "Sending is paused. The event sending.paused has the reason: for example a missing or refused "
            "key, or a spend limit. Read it and fix the cause; sending then resumes automatically.",
        )
        self._alarm(
            "stuck",
            relay_metric(self.service, "Stuck", "Sum", hour),
            "An item made no progress in five tries, or poll passed over an item that it cannot read or "
            "process. The event batch.stuck or poll's log names it. Retries continue, up to six hours apart, "
            "and succeed once the cause is fixed.",
        )
        self._alarm(
            "duplicate-batch",
            relay_metric(self.service, "Duplicate", "Sum", hour),
            "Anthropic accepted the same requests twice; poll canceled the newer batch. Look in the "
            "Claude Console for what both cost.",
        )

    def _function_errors(self, name: str, stage: Stage) -> None:
        self._alarm(
            f"{name}-errors",
            stage.function.metric_errors(period=Duration.minutes(15)),
            f"The function {name} failed three times in 15 minutes: read the last error in its log. "
            "Failed work is retried automatically.",
            above=2,
        )

    def _when_not_empty(self, name: str, queue: sqs.Queue, description: str) -> None:
        metric = queue.metric_approximate_number_of_messages_visible(
            period=Duration.minutes(1), statistic="Maximum"
        )
        self._alarm(name, metric, description)

    def _alarm(
        self,
        name: str,
        metric: cloudwatch.IMetric,
        description: str,
        *,
        above: float = 0,
        below: float | None = None,
        missing: cloudwatch.TreatMissingData = cloudwatch.TreatMissingData.NOT_BREACHING,
    ) -> None:
        alarm = cloudwatch.Alarm(
            self,
            name,
            alarm_name=f"{self.service}-{name}",
            alarm_description=description,
            metric=metric,
            threshold=above if below is None else below,
            comparison_operator=_ABOVE if below is None else _BELOW,
            evaluation_periods=1,
            treat_missing_data=missing,
        )
        alarm.add_alarm_action(actions.SnsAction(self.topic))
        self.all.append(alarm)
        alarm.add_ok_action(actions.SnsAction(self.topic))
