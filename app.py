"""The CDK app: reads the settings, builds the bundle where it is missing, makes the stack."""

import sys

from aws_cdk import App

from infra.bundle import bundled, stub
from infra.errors import DeploymentError
from infra.settings import StackSettings
from infra.stack import RelayStack


def main() -> None:
    """Synthesize; a mistake of the user's is one sentence."""
    app = App()
    try:
        settings = StackSettings.from_context(app.node.get_all_context())
        bundle = stub() if settings.bundle == "stub" else bundled(settings.architecture)
    except DeploymentError as error:
        sys.exit(f"claude-batch-relay: {error}")
    RelayStack(app, settings=settings, bundle=bundle)
    app.synth()


if __name__ == "__main__":
    main()
