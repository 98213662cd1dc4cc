"""Acknowledge cdk-nag findings, with the reason next to the code that each is about."""

from aws_cdk import Acknowledgment, Validations
from constructs import IConstruct


def acknowledge(scope: IConstruct, rule: str, reason: str) -> None:
    """Record why ``scope`` does not follow ``rule``, for example ``AwsSolutions-S1``."""
    Validations.of(scope).acknowledge(Acknowledgment(id=rule, reason=reason))
