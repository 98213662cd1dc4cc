"""Checks of the account and of the stack as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.doctor.stack import Diagnosis
from infra.version import version as version_of_this_clone

if TYPE_CHECKING:
    from cli.doctor.stack import Stack

_POLL_AT_ONCE = 1


def credentials(stack: Stack) -> Diagnosis:
    """Check that AWS knows who asks."""
    caller = stack.deployment.connect("sts").get_caller_identity()
    return Diagnosis(f"{caller['Arn']} in account {caller['Account']}", [])


def stack_status(stack: Stack) -> Diagnosis:
    """Check that the last deploy succeeded."""
    (description,) = stack.deployment.stacks.describe_stacks(StackName=stack.name)["Stacks"]
    status = description["StackStatus"]
    if status in {"CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE"}:
        return Diagnosis(f"{stack.name} is {status}", [])
    advice = (
        "wait until it ends"
        if status.endswith("_IN_PROGRESS")
        else "read its events in CloudFormation, fix the cause and run `make deploy`"
    )
    return Diagnosis("", [f"{stack.name} is {status}: {advice}"])


def version(stack: Stack) -> Diagnosis:
    """Check that what is deployed is what this clone would deploy."""
    deployed = stack.deployment.outputs.get("Version")
    own = version_of_this_clone()
    if deployed == own:
        return Diagnosis(f"{deployed}, as in this clone", [])
    what = f"version {deployed}" if deployed else "a version without a number"
    return Diagnosis("", [f"{what} is deployed, this clone is {own}: run `make deploy`"])


def concurrency(stack: Stack) -> Diagnosis:
    """Check that the account lets all functions run at once."""
    limits = stack.deployment.functions.get_account_settings()["AccountLimit"]
    free, total = limits["UnreservedConcurrentExecutions"], limits["ConcurrentExecutions"]
    mappings = stack.resources("AWS::Lambda::EventSourceMapping")
    wanted = _POLL_AT_ONCE + sum(
        properties.get("ScalingConfig", {}).get("MaximumConcurrency", 2)
        for _, _, properties in mappings
    )
    if free >= wanted:
        return Diagnosis(
            f"{free:,} of {total:,} concurrent executions are free; the stack uses up to {wanted}",
            [],
        )
    problem = (
        f"the account has {free:,} concurrent executions for all functions, this stack uses up to {wanted}: request "
        "a higher quota for Lambda, or lower submitConcurrency and resultsConcurrency"
    )
    return Diagnosis("", [problem])
