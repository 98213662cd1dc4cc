"""The stack: what lasts, a construct a stage, the alarms, and what a user needs to know of it."""

from pathlib import Path

from aws_cdk import CfnOutput, CfnParameter, CfnRule, CfnRuleAssertion, Fn, Stack
from constructs import Construct

from infra.alarms import Alarms
from infra.poll import Poll
from infra.results import Results
from infra.settings import StackSettings
from infra.storage import Storage
from infra.submit import Submit

_STUB = (
    "This assembly holds a stub in place of the functions, for tests: "
    "leave out '-c bundle=stub' and deploy again"
)


class RelayStack(Stack):
    """Everything that `cdk deploy` installs."""

    def __init__(self, scope: Construct, *, settings: StackSettings, bundle: Path) -> None:
        super().__init__(
            scope,
            settings.stack_name,
            description="claude-batch-relay: prompts in S3, answers at half price back to S3",
        )
        storage = Storage(self, settings=settings)
        poll = Poll(self, settings=settings, storage=storage, bundle=bundle)
        submit = Submit(self, settings=settings, storage=storage, poll=poll, bundle=bundle)
        results = Results(self, settings=settings, storage=storage, poll=poll, bundle=bundle)
        alarms = Alarms(
            self, settings=settings, storage=storage, submit=submit, poll=poll, results=results
        )

        self._output("UploadsBucket", storage.uploads.bucket_name, "Upload here")
        self._output(
            "ResultsBucket", storage.results.bucket_name, "Answers land here, under results/"
        )
        self._output("EventsTopicArn", storage.events.topic_arn, "Subscribe here")
        self._output("AlarmsTopicArn", alarms.topic.topic_arn, "Alarms, for whoever operates this")
        self._output("SecretName", storage.secret_name, "Put the Anthropic API key here")
        self._output("TableName", storage.table.table_name, "The jobs and their batches")
        self._output("SubmitQueueUrl", storage.submit_queue.queue_url, "Wakes submit")
        self._output("ResultsQueueUrl", storage.results_queue.queue_url, "Wakes results")
        self._output("DeadUploadsQueueArn", storage.submit_dead.queue_arn, "Redrive from here")
        self._output("DeadResultsQueueArn", storage.results_dead.queue_arn, "Dead work messages")
        for name, stage in {"Submit": submit, "Poll": poll, "Results": results}.items():
            self._output(f"{name}FunctionName", stage.function.function_name, f"{name}'s function")
        if settings.bundle == "stub":
            self._refuse_to_deploy()

    def _output(self, name: str, value: str, what: str) -> None:
        CfnOutput(self, name, value=value, description=what)

    def _refuse_to_deploy(self) -> None:
        """Let CloudFormation itself refuse a stub, however it is deployed."""
        stub = CfnParameter(self, "Bundle", default="stub", allowed_values=["stub"])
        CfnRule(
            self,
            "NoStub",
            assertions=[
                CfnRuleAssertion(
                    assert_=Fn.condition_not(Fn.condition_equals(stub.value_as_string, "stub")),
                    assert_description=_STUB,
                )
            ],
        )
