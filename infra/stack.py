"""The stack: storage, one construct per stage, the alarms and the outputs."""

from pathlib import Path

from aws_cdk import CfnOutput, CfnParameter, CfnRule, CfnRuleAssertion, Fn, Stack
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra.alarms import Alarms
from infra.dashboard import Dashboard
from infra.poll import Poll
from infra.results import Results
from infra.settings import StackSettings
from infra.stage import ARCHITECTURES
from infra.storage import Storage
from infra.submit import Submit
from infra.version import version

_STUB = (
    "This assembly contains a stub instead of the functions, for tests: "
    "leave out '-c bundle=stub' and deploy again"
)


class RelayStack(Stack):
    """All resources that `cdk deploy` creates."""

    def __init__(
        self, scope: Construct, *, settings: StackSettings, bundle: Path, duckdb: Path
    ) -> None:
        super().__init__(
            scope,
            settings.stack_name,
            description="claude-batch-relay: prompts in S3, answers at half price back to S3",
        )
        storage = Storage(self, settings=settings)
        poll = Poll(self, settings=settings, storage=storage, bundle=bundle)
        layer = self._layer(settings, duckdb)
        submit = Submit(
            self, settings=settings, storage=storage, poll=poll, bundle=bundle, duckdb=layer
        )
        results = Results(
            self, settings=settings, storage=storage, poll=poll, bundle=bundle, duckdb=layer
        )
        alarms = Alarms(
            self, settings=settings, storage=storage, submit=submit, poll=poll, results=results
        )
        if settings.dashboard:
            Dashboard(
                self,
                settings=settings,
                storage=storage,
                stages={"submit": submit, "poll": poll, "results": results},
                alarms=alarms,
            )

        self._output("UploadsBucket", storage.uploads.bucket_name, "Upload here")
        self._output(
            "ResultsBucket",
            storage.results.bucket_name,
            "Results are written here, under results/",
        )
        self._output("EventsTopicArn", storage.events.topic_arn, "Subscribe here")
        self._output("AlarmsTopicArn", alarms.topic.topic_arn, "Subscribe here to the alarms")
        self._output("SecretName", storage.secret_name, "Put the Anthropic API key here")
        self._output("TableName", storage.table.table_name, "The jobs and their batches")
        self._output("SubmitQueueUrl", storage.submit_queue.queue_url, "Work messages for submit")
        self._output(
            "ResultsQueueUrl", storage.results_queue.queue_url, "Work messages for results"
        )
        self._output(
            "DeadUploadsQueueArn",
            storage.submit_dead.queue_arn,
            "Dead letters of submit; redrive from here",
        )
        self._output(
            "DeadResultsQueueArn", storage.results_dead.queue_arn, "Dead letters of results"
        )
        for name, stage in {"Submit": submit, "Poll": poll, "Results": results}.items():
            self._output(f"{name}FunctionName", stage.function.function_name, f"{name}'s function")
        is_stub = settings.bundle == "stub"
        self._output("Version", "stub" if is_stub else version(), "What is deployed")
        if is_stub:
            self._reject_stub()

    def _layer(self, settings: StackSettings, duckdb: Path) -> lambda_.LayerVersion:
        return lambda_.LayerVersion(
            self,
            "DuckDb",
            code=lambda_.Code.from_asset(str(duckdb)),
            compatible_architectures=[ARCHITECTURES[settings.architecture]],
            compatible_runtimes=[lambda_.Runtime.PYTHON_3_13],
            description="DuckDB, which reads Parquet",
        )

    def _output(self, name: str, value: str, description: str) -> None:
        CfnOutput(self, name, value=value, description=description)

    def _reject_stub(self) -> None:
        """Add a rule with which CloudFormation rejects the stub, whichever tool deploys it."""
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
