"""What cdk-nag finds and we have decided to keep, each with its reason beside the code it is about."""

from aws_cdk import Acknowledgment, Validations
from constructs import IConstruct


def acknowledge(scope: IConstruct, rule: str, reason: str) -> None:
    """Say why ``scope`` does not follow ``rule`` (for example ``AwsSolutions-S1``)."""
    Validations.of(scope).acknowledge(Acknowledgment(id=rule, reason=reason))
