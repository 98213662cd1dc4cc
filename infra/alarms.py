"""What wakes a person: each alarm, what it watches, and what to do about it.

docs/operate.md has a line for each, under the same name. They are twelve, of
which CloudWatch gives ten for nothing; each is about one figure, so that it says which function, queue or state it means.
"""

from aws_cdk import Duration, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra.poll import Poll
from infra.results import Results
from infra.settings import StackSettings
from infra.stage import METRICS_NAMESPACE, Stage
from infra.storage import Storage
from infra.submit import Submit

_MORE = cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD
_LESS = cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD


class Alarms(Construct):
    """The alarms, on a topic of their own."""

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
        self.topic = self._topic(settings.alarm_email)
        self._dead_letters(storage, poll)
        self._messages_wait(storage)
        self._poll_stands_still(settings.poll_minutes)
        self._work_stands_still()
        self._function_fails("submit", submit)
        self._function_fails("results", results)

    def _topic(self, email: str | None) -> sns.Topic:
        """Make the topic; only this account's alarms may publish to it."""
        topic = sns.Topic(self, "Topic", enforce_ssl=True)
        topic.add_to_resource_policy(
            iam.PolicyStatement(
                sid="AlarmsMaySpeak",
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
            "A message failed for days. An upload that lies here is not "
            "being worked on: read submit's log, mend the cause, then redrive the queue.",
        )
        self._when_not_empty(
            "dead-results",
            storage.results_dead,
            "Collecting or joining results failed for days. Poll goes on asking for it by "
            "itself: read the log of results, mend the cause, then purge the queue.",
        )
        self._when_not_empty(
            "missed-polls",
            poll.failed_polls,
            "A run of poll, or submit's daily look for uploads without a job, failed or never began. The next run does "
            "its work: read their logs if this goes on. The queue empties itself within the hour.",
        )

    def _messages_wait(self, storage: Storage) -> None:
        for name, queue in (
            ("submit", storage.submit_queue),
            ("results", storage.results_queue),
        ):
            self._alarm(
                f"old-{name}-messages",
                queue.metric_approximate_age_of_oldest_message(
                    period=Duration.minutes(5), statistic="Maximum"
                ),
                f"A message for {name} has waited for an hour: too few invocations, or each of them fails. Look at "
                f"the throttles of {name}, raise {name}Concurrency, and read its log.",
                more_than=3600,
            )

    def _poll_stands_still(self, every_minutes: int) -> None:
        minutes = max(5, 3 * every_minutes)
        self._alarm(
            "no-poll",
            self._said_by_poll("PollSucceeded", "Sum", Duration.minutes(minutes)),
            f"No run of poll has succeeded for {minutes} minutes: no batch is sent, no result is noticed, no stage is started. "
            "Read poll's log; see that its schedule is enabled and its function not throttled.",
            less_than=1,
            missing=cloudwatch.TreatMissingData.BREACHING,
        )

    def _work_stands_still(self) -> None:
        hour = Duration.hours(1)
        self._alarm(
            "old-batch",
            self._said_by_poll("OldestBatchHours", "Maximum", Duration.minutes(15)),
            "A batch is unfinished 26 hours after its first create, though Anthropic ends each within 24: read what "
            "poll says of it, and look for it in Anthropic's console.",
            more_than=26,
        )
        self._alarm(
            "paused",
            self._said_by_poll("Paused", "Maximum", Duration.minutes(5)),
            "Sending is paused: the key is missing or refused, or the account has reached its "
            "limit. The event sending.paused says which. Once mended, poll goes on by itself.",
        )
        self._alarm(
            "stuck",
            self._said_by_poll("Stuck", "Sum", hour),
            "An item has made no progress in five tries: it is tried again, up to six hours apart, and goes on by itself "
            "once the cause is mended; the event batch.stuck names it. Or poll passed over an item that it cannot read or "
            "work on: read poll's log, which names it.",
        )
        self._alarm(
            "duplicate",
            self._said_by_poll("Duplicate", "Sum", hour),
            "A batch was sent a second time, and then the first turned out to have been accepted; "
            "the newer one was canceled. Look in Anthropic's console for what both cost.",
        )

    def _function_fails(self, name: str, stage: Stage) -> None:
        self._alarm(
            f"{name}-errors",
            stage.function.metric_errors(period=Duration.minutes(15)),
            f"The function {name} has failed again and again: read the last error in its log. "
            "What failed is tried again by itself.",
            more_than=2,
        )

    def _when_not_empty(self, name: str, queue: sqs.Queue, what: str) -> None:
        figure = queue.metric_approximate_number_of_messages_visible(
            period=Duration.minutes(1), statistic="Maximum"
        )
        self._alarm(name, figure, what)

    def _said_by_poll(self, name: str, statistic: str, period: Duration) -> cloudwatch.Metric:
        return cloudwatch.Metric(
            namespace=METRICS_NAMESPACE,
            metric_name=name,
            dimensions_map={"service": self.service},
            statistic=statistic,
            period=period,
        )

    def _alarm(
        self,
        name: str,
        figure: cloudwatch.IMetric,
        what: str,
        *,
        more_than: float = 0,
        less_than: float | None = None,
        missing: cloudwatch.TreatMissingData = cloudwatch.TreatMissingData.NOT_BREACHING,
    ) -> None:
        alarm = cloudwatch.Alarm(
            self,
            name,
            alarm_name=f"{self.service}-{name}",
            alarm_description=what,
            metric=figure,
            threshold=more_than if less_than is None else less_than,
            comparison_operator=_MORE if less_than is None else _LESS,
            evaluation_periods=1,
            treat_missing_data=missing,
        )
        alarm.add_alarm_action(actions.SnsAction(self.topic))
