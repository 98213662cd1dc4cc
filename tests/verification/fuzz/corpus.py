"""Recorded inputs: one Python bytes literal a line in `corpus/<target>.txt`.

`words.dict` is the dictionary that the fuzzer inserts words from.

>>> python -m tests.verification.fuzz.corpus reader FOLDER  # record a folder's new inputs
"""

import ast
import sys
from collections.abc import Iterable
from pathlib import Path

FOLDER = Path(__file__).parent / "corpus"
DICTIONARY = FOLDER / "words.dict"
MAX_SEED_BYTES, MAX_SEEDS = 400, 120
"""Recorded inputs are for people, too: short ones, and not too many."""


def read_seeds(target: str) -> list[bytes]:
    """Return a target's inputs."""
    lines = (FOLDER / f"{target}.txt").read_text(encoding="ascii").splitlines()
    return [ast.literal_eval(line) for line in lines]


def unpack(target: str, folder: Path) -> None:
    """Write a target's inputs as the seed files of libFuzzer."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(read_seeds(target)):
        (folder / f"seed-{number:03d}").write_bytes(seed)


def record(target: str, seeds: Iterable[bytes]) -> int:
    """Add inputs to a target; return how many it has now."""
    file = FOLDER / f"{target}.txt"
    existing = read_seeds(target) if file.exists() else []
    short_seeds = (seed for seed in seeds if len(seed) <= MAX_SEED_BYTES)
    seeds_kept = [*dict.fromkeys([*existing, *sorted(short_seeds, key=len)])][
        : max(MAX_SEEDS, len(existing))
    ]
    file.write_text("".join(f"{seed!r}\n" for seed in seeds_kept), encoding="ascii")
    return len(seeds_kept)


if __name__ == "__main__":
    name, found_folder = sys.argv[1], Path(sys.argv[2])
    print(name, record(name, (file.read_bytes() for file in found_folder.iterdir())))  # noqa: T201 - a command
