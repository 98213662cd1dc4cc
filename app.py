"""Run the CDK app: read the settings, build the bundle if it is missing, synthesize the stack."""

import sys

from infra.bundle import bundled, duckdb_layer, stub
from infra.errors import DeploymentError
from infra.node import prefer_installed_node
from infra.settings import StackSettings


def main() -> None:
    """Synthesize the stack. Exit with a one-line message if a setting cannot be used."""
    prefer_installed_node()
    try:
        from aws_cdk import App  # noqa: PLC0415  # its import starts Node.js
    except ModuleNotFoundError:
        sys.exit(
            "claude-batch-relay: the library of the CDK is not installed: run `make deploy`, "
            "which installs it, or `make .venv/.deploying` alone"
        )

    from infra.stack import RelayStack  # noqa: PLC0415  # it imports aws_cdk

    app = App()
    try:
        settings = StackSettings.from_context(app.node.get_all_context())
        is_stub = settings.bundle == "stub"
        bundle = stub() if is_stub else bundled(settings.architecture)
        duckdb = stub() if is_stub else duckdb_layer(settings.architecture)
    except DeploymentError as error:
        sys.exit(f"claude-batch-relay: {error}")
    RelayStack(app, settings=settings, bundle=bundle, duckdb=duckdb)
    app.synth()


if __name__ == "__main__":
    main()
