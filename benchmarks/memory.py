"""Measure what a million requests cost at each Lambda memory size, with its CPU share and network speed."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.cgroup import cpu_share
from benchmarks.lambdas import STAGES, Lambdas
from benchmarks.plots import lines
from benchmarks.processes import start_fake
from benchmarks.relay import UPLOADS, Relay, make_table, s3_notification
from benchmarks.whole import ROW_BYTES, run
from infra.template import read_template

NETWORK_MB_S = 75
"""600 Mbit/s each way, about what a Lambda function gets; AWS publishes no number."""
GB_SECOND_USD = 0.0000133334
"""Arm, us-east-1, November 2026: https://aws.amazon.com/lambda/pricing/"""


@dataclass(frozen=True)
class MemoryMeasurement:
    """One step at one memory size.

    Attributes:
        seconds_per_million: billed seconds for a million requests, 10,000 per batch.
        peak_mb: the peak memory of the function.
        default: whether it is deployed with this size.
    """

    stage: str
    memory_mb: int
    seconds_per_million: float
    peak_mb: float
    default: bool

    @property
    def usd(self) -> float:
        """The cost of a million requests."""
        return self.seconds_per_million * self.memory_mb / 1024 * GB_SECOND_USD


def sweep(relay: Relay, folder: Path, rows: int, sizes: Sequence[int]) -> list[MemoryMeasurement]:
    """Run a job at each memory size, one invocation at a time."""
    upload = {f"/{UPLOADS}/sized.jsonl": rows * ROW_BYTES}
    network = ("--mb-s", str(NETWORK_MB_S))
    measurements: list[MemoryMeasurement] = []
    for size in sorted({*sizes, *deployed().values()}):
        make_table(relay.cloud)
        with (
            start_fake(
                "benchmarks.s3", "--folder", folder, "--sizes", json.dumps(upload), *network
            ) as relay.s3,
            start_fake("benchmarks.claude", "--answers", *network) as relay.claude,
            cpu_share(size) as cpu_prefix,
            Lambdas.warm(relay, folder, cpu_prefix, concurrency=1) as lambdas,
        ):
            run(lambdas, s3_notification("sized.jsonl", f"v{size}", rows * ROW_BYTES))
        measurements += _measurements_of(lambdas, rows, size)
    return measurements


def _measurements_of(lambdas: Lambdas, rows: int, size: int) -> list[MemoryMeasurement]:
    seconds = lambdas.seconds()
    return [
        MemoryMeasurement(
            step, size, seconds[step] / rows * 1e6, lambdas.peaks[stage], deployed()[stage] == size
        )
        for step, stage in STAGES.items()
        if step in seconds
    ]


def deployed() -> dict[str, int]:
    """Return the deployed memory of each function in MB."""
    functions = [
        resource["Properties"]
        for resource in read_template()["Resources"].values()
        if resource["Type"] == "AWS::Lambda::Function"
    ]
    return {resource["Handler"].split(".")[1]: resource["MemorySize"] for resource in functions}


def to_json(measurements: Sequence[MemoryMeasurement]) -> list[dict[str, object]]:
    """Convert to the format of benchmarks/results.json."""
    return [
        asdict(measurement) | {"usd_per_million": measurement.usd} for measurement in measurements
    ]


def draw(file: Path, measurements: Sequence[MemoryMeasurement]) -> None:
    """Draw what a million requests cost by memory size, each step and all of them."""
    steps = {
        step: {
            measurement.memory_mb: measurement
            for measurement in measurements
            if measurement.stage == step
        }
        for step in STAGES
    }
    series = {
        step: [(size, ones[size].usd * 1000) for size in sorted(ones)]
        for step, ones in steps.items()
        if ones
    }
    annotations = [
        (measurement.memory_mb, measurement.usd * 1000, "deployed") for measurement in measurements if measurement.default and measurement.stage in series
    ]  # fmt: skip
    lines(
        file, series, title="A million requests in Lambda, by memory size", x_label="memory, MB",
        y_label="US dollars / 1,000", annotations=annotations,
    )  # fmt: skip
