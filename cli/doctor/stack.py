"""The stack that is examined: what CloudFormation knows about it, looked up once."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from functions.adapters.table import Table
from functions.model.records import RELAY, PollLease, Sending

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cli.deployment import Deployment

FUNCTIONS = ("Submit", "Poll", "Results")


class Diagnosis(NamedTuple):
    """What a check found.

    Attributes:
        fine: what is fine, if there is no problem.
        problems: what is wrong and what to do, in one sentence each.
    """

    fine: str
    problems: Sequence[str]


@dataclass(frozen=True)
class Stack:
    """A deployed stack.

    Attributes:
        deployment: its outputs and clients.
        calls_api: whether the API key may be tried.
        now: the current time.
    """

    deployment: Deployment
    calls_api: bool = False
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    @cached_property
    def configurations(self) -> dict[str, Any]:
        """The configuration of each function, by its name in `FUNCTIONS`."""
        return {
            name: self.deployment.functions.get_function_configuration(
                FunctionName=self.function(name)
            )
            for name in FUNCTIONS
        }

    @cached_property
    def settings(self) -> dict[str, str]:
        """The environment of poll."""
        settings: dict[str, str] = self.configurations["Poll"]["Environment"]["Variables"]
        return settings

    @property
    def name(self) -> str:
        """Its name in CloudFormation, which the functions use in their logs."""
        return self.settings["POWERTOOLS_SERVICE_NAME"]

    @cached_property
    def physical_ids(self) -> dict[str, str]:
        """Logical id → physical id of each resource."""
        pages = self.deployment.stacks.get_paginator("list_stack_resources").paginate(
            StackName=self.name
        )
        return {
            resource["LogicalResourceId"]: resource.get("PhysicalResourceId", "")
            for page in pages
            for resource in page["StackResourceSummaries"]
        }

    @cached_property
    def template(self) -> dict[str, Any]:
        """The resources of the template that was deployed."""
        answer = self.deployment.stacks.get_template(StackName=self.name)
        body: Any = answer["TemplateBody"]  # botocore parses JSON
        template = msgspec.json.decode(body) if isinstance(body, str) else body
        resources: dict[str, Any] = template["Resources"]
        return resources

    def resources(self, kind: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Yield the logical id, the physical id and the properties of each resource of a type."""
        for logical, resource in self.template.items():
            if resource["Type"] == kind:
                physical = self.physical_ids.get(logical, "")
                yield logical, physical, resource.get("Properties", {})

    def function(self, name: str) -> str:
        """Return the physical name of a function."""
        return self.deployment.output(f"{name}FunctionName")

    def queue_arn(self, name: str) -> str:
        """Return the ARN of a queue: ``Submit`` or ``Results``."""
        url = self.deployment.output(f"{name}QueueUrl")
        answer = self.deployment.sqs.get_queue_attributes(
            QueueUrl=url, AttributeNames=["QueueArn"]
        )
        return answer["Attributes"]["QueueArn"]

    @cached_property
    def iam(self) -> Any:  # noqa: ANN401 - no stubs, see the docstring
        """Roles. No stubs are installed for these clients, which only this command uses."""
        return self.deployment.connect("iam")

    @cached_property
    def metrics(self) -> Any:  # noqa: ANN401 - no stubs, as for iam
        """CloudWatch."""
        return self.deployment.connect("cloudwatch")

    @cached_property
    def table(self) -> Table:
        """The table of jobs and batches."""
        return Table(self.deployment.table, self.deployment.dynamodb)

    @cached_property
    def sending(self) -> Sending:
        """Whether sending is paused."""
        return msgspec.convert(self.table.get(RELAY, "sending") or {}, Sending)

    @cached_property
    def poll_lease(self) -> PollLease:
        """When poll last ended."""
        return msgspec.convert(self.table.get(RELAY, "poll") or {}, PollLease)


def last_part(name: str) -> str:
    """Return the last part of an ARN, of a URL or of a path."""
    return re.split("[/:]", name)[-1]
