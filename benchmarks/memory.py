"""What a million requests cost in Lambda at each memory size: the stages under its share of a processor, on its wire."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.cgroup import share_of
from benchmarks.lambdas import STAGES, Lambdas
from benchmarks.plots import lines
from benchmarks.processes import far_end
from benchmarks.relay import UPLOADS, Relay, make_table
from benchmarks.whole import run
from infra.synth import synthesize

WIRE_MB_S = 75
"""600 Mbit/s each way, which is about what a Lambda gets; AWS promises no number."""
GB_SECOND_USD = 0.0000133334
"""Arm, us-east-1, November 2026: https://aws.amazon.com/lambda/pricing/"""


@dataclass(frozen=True)
class Sized:
    """One step at one memory size.

    Attributes:
        seconds_per_million: what Lambda bills for a million requests, of 10,000 a batch.
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
        """What a million requests cost."""
        return self.seconds_per_million * self.memory_mb / 1024 * GB_SECOND_USD


def sweep(relay: Relay, folder: Path, rows: int, sizes: Sequence[int]) -> list[Sized]:
    """Run a job at each memory size, one invocation at a time."""
    upload = {f"/{UPLOADS}/sized.jsonl": rows * 2400}
    wire = ("--mb-s", str(WIRE_MB_S))
    found: list[Sized] = []
    for size in sorted({*sizes, *deployed().values()}):
        make_table(relay.cloud)
        with (
            far_end(
                "benchmarks.s3", "--folder", folder, "--sizes", json.dumps(upload), *wire
            ) as relay.s3,
            far_end("benchmarks.claude", "--answers", *wire) as relay.claude,
            share_of(size) as share,
            Lambdas.warm(relay, folder, share, at_once=1) as lambdas,
        ):
            run(lambdas, "sized.jsonl", f"v{size}")
        found += _sized(lambdas, rows, size)
    return found


def _sized(lambdas: Lambdas, rows: int, size: int) -> list[Sized]:
    seconds = lambdas.seconds()
    return [
        Sized(
            step, size, seconds[step] / rows * 1e6, lambdas.peaks[stage], deployed()[stage] == size
        )
        for step, stage in STAGES.items()
        if step in seconds
    ]


def deployed() -> dict[str, int]:
    """Give the memory that each function is deployed with, in MB."""
    functions = [
        one["Properties"]
        for one in synthesize()["Resources"].values()
        if one["Type"] == "AWS::Lambda::Function"
    ]
    return {one["Handler"].split(".")[1]: one["MemorySize"] for one in functions}


def told(sized: Sequence[Sized]) -> list[dict[str, object]]:
    """Write it as benchmarks/results.json has it."""
    return [asdict(one) | {"usd_per_million": one.usd} for one in sized]


def draw(file: Path, sized: Sequence[Sized]) -> None:
    """Draw what a million requests cost by memory size, each step and all of them."""
    steps = {step: {one.memory_mb: one for one in sized if one.stage == step} for step in STAGES}
    series = {
        step: [(size, ones[size].usd * 1000) for size in sorted(ones)]
        for step, ones in steps.items()
        if ones
    }
    marks = [
        (one.memory_mb, one.usd * 1000, "deployed") for one in sized if one.default and one.stage in series
    ]  # fmt: skip
    lines(
        file, series, title="A million requests in Lambda, by memory size", across="memory, MB",
        up="US dollars / 1,000", marks=marks,
    )  # fmt: skip
