"""An emulated AWS with IAM enforced, and the stack as the real CDK CLI deploys it."""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from infra.node import prefer_installed_node
from local import emulator
from local.assembly import host_architecture
from local.cloud import ACCOUNT, REGION, Cloud
from local.emulator import Emulator
from local.simulator import Simulator, serving
from local.subscriber import subscribe
from local.workspace import Workspace, free_port
from tests.e2e.relay import Relay

prefer_installed_node()  # the CLI runs on it

STACK = "relay-e2e"
PROCESSING_S = 1.0
WORKSPACE = Workspace.of_this_clone()


@pytest.fixture(scope="session")
def emulator_with_iam(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    python = emulator.install(WORKSPACE)
    folder = tmp_path_factory.mktemp("cloud")
    emulator_process = emulator.start(python, folder, port=free_port(), strict=True)
    yield emulator_process
    emulator_process.program.stop()


@pytest.fixture(scope="session")
def cloud(emulator_with_iam: Emulator) -> Cloud:
    return emulator_with_iam.cloud


@pytest.fixture(scope="session")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Simulator:
    return Simulator(tmp_path_factory.mktemp("simulator"), processing_s=PROCESSING_S)


@pytest.fixture(scope="session")
def claude_url(simulator: Simulator) -> Iterator[str]:
    with serving(simulator) as url:
        yield url


@dataclass(frozen=True)
class Deploy:
    """Runs the real CLI, whose assembly stays in `assembly`."""

    cloud: Cloud
    folder: Path
    settings: dict[str, str]

    def __call__(self) -> dict[str, str]:
        outputs_file = self.folder / "outputs.json"
        words = ["--require-approval", "never", "--outputs-file", str(outputs_file)]
        for pair in self.settings.items():
            words += ["--context", "=".join(pair)]
        self.cdk("deploy", *words, "--output", str(self.assembly), folder=WORKSPACE.root)
        return dict(json.loads(outputs_file.read_bytes())[STACK])

    @property
    def assembly(self) -> Path:
        return self.folder / "assembly"

    @property
    def template(self) -> Path:
        return self.assembly / f"{STACK}.template.json"

    def cdk(self, *words: str, folder: Path | None = None) -> None:
        """Run a command; only in the clone, it finds the app and takes the time to synthesize it."""
        env = {
            **self.cloud.env(),
            "CDK_HOME": str(self.folder / "home"),
            "CDK_DISABLE_CLI_TELEMETRY": "true",
            "CI": "true",
        }
        cdk = str(WORKSPACE.folder / "node" / "node_modules" / ".bin" / "cdk")
        process = subprocess.run(  # noqa: S603 - a list made here
            [cdk, "--no-notices", *words],
            cwd=folder or self.folder,
            env=os.environ | env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert process.returncode == 0, process.stderr[-1500:]


@pytest.fixture(scope="session")
def deploy(
    cloud: Cloud, claude_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deploy]:
    """Deploy the stack with short delays; destroy it at the end."""
    settings = {
        "stackName": STACK,
        "architecture": host_architecture(),
        "baseUrl": claude_url,
        "removalPolicy": "destroy",
        "pollMinutes": "60",  # the tests invoke poll; a scheduled one would interfere
        "submitConcurrency": "2",  # each container takes seconds of a core to start
        "resultsConcurrency": "2",
        "absentSeconds": "3",
        "skewSeconds": "1",
        "probeSeconds": "1",
        "retrySeconds": "1",
        "incompleteSeconds": "2",
        "createTimeoutSeconds": "30",
    }
    deploy = Deploy(cloud, tmp_path_factory.mktemp("cdk"), settings)
    deploy.cdk("bootstrap", f"aws://{ACCOUNT}/{REGION}")
    yield deploy
    deploy.cdk("destroy", "--force", "--app", str(deploy.assembly))
    with pytest.raises(ClientError, match="does not exist"):
        cloud.stacks.describe_stacks(StackName=STACK)


@pytest.fixture(scope="session")
def outputs(deploy: Deploy, cloud: Cloud) -> dict[str, str]:
    outputs = deploy()
    cloud.secrets.put_secret_value(SecretId=outputs["SecretName"], SecretString="sk-local")
    return outputs


@pytest.fixture
def relay(cloud: Cloud, outputs: dict[str, str], simulator: Simulator) -> Iterator[Relay]:
    with subscribe(cloud, outputs["EventsTopicArn"]) as subscriber:
        relay = Relay(cloud, outputs, simulator, subscriber)
        relay.end_lease("relay", "poll")
        yield relay
    simulator.processing_s = PROCESSING_S
