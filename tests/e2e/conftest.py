"""A cloud with IAM enforced, and the stack in it as the real CDK CLI deploys it."""

import json
from collections.abc import Callable, Iterator

import pytest

from local import assembly, emulator
from local.cloud import ACCOUNT, REGION, Cloud
from local.home import Home, free_port
from local.simulator import Simulator, serving
from local.subscriber import subscribed
from tests.e2e.relay import Relay

type Deploy = Callable[..., dict[str, str]]

STACK = "relay-e2e"
PROCESSING_S = 1.0
HOME = Home.of_clone()


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    python = emulator.install(HOME)
    folder = tmp_path_factory.mktemp("cloud")
    began = emulator.start(python, folder, port=free_port(), strict=True)
    yield began.cloud
    began.program.stop()


@pytest.fixture(scope="session")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Simulator:
    return Simulator(tmp_path_factory.mktemp("simulator"), processing_s=PROCESSING_S)


@pytest.fixture(scope="session")
def claude_url(simulator: Simulator) -> Iterator[str]:
    with serving(simulator) as url:
        yield url


@pytest.fixture(scope="session")
def cdk(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Run the real CLI against the cloud."""
    folder = tmp_path_factory.mktemp("cdk")
    env = {**cloud.env(), "CDK_HOME": str(folder / "home"), "CI": "true"}

    def run(*words: str) -> str:
        output = ["--output", str(folder / "out")]
        return assembly.run([*assembly.cdk(HOME), *words, *output], HOME.root, env)

    return run


@pytest.fixture(scope="session")
def deploy(
    cdk: Callable[..., str], claude_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deploy]:
    """Deploy the stack with settings that nobody has to wait for; at the end it is destroyed."""
    usual = {
        "stackName": STACK,
        "architecture": assembly.host_architecture(),
        "baseUrl": claude_url,
        "removalPolicy": "destroy",
        "absentSeconds": "3",
        "skewSeconds": "1",
        "probeSeconds": "1",
        "fetchSeconds": "2",
        "createTimeoutSeconds": "30",
    }

    def with_settings(**settings: str) -> dict[str, str]:
        told = tmp_path_factory.mktemp("outputs") / "outputs.json"
        cdk("deploy", *_context(usual | settings), "--require-approval", "never",
            "--outputs-file", str(told))  # fmt: skip
        return dict(json.loads(told.read_bytes())[STACK])

    cdk("bootstrap", f"aws://{ACCOUNT}/{REGION}", *_context(usual))
    yield with_settings
    cdk("destroy", *_context(usual), "--force")


@pytest.fixture(scope="session")
def outputs(deploy: Deploy, cloud: Cloud) -> dict[str, str]:
    outputs = deploy()
    cloud.secrets.put_secret_value(SecretId=outputs["SecretName"], SecretString="sk-local")
    return outputs


@pytest.fixture
def relay(cloud: Cloud, outputs: dict[str, str], simulator: Simulator) -> Iterator[Relay]:
    with subscribed(cloud, outputs["EventsTopicArn"]) as subscriber:
        yield Relay(cloud, outputs, simulator, subscriber)
    simulator.processing_s = PROCESSING_S


def _context(settings: dict[str, str]) -> list[str]:
    return [word for pair in settings.items() for word in ("--context", "=".join(pair))]
