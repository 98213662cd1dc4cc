"""Serve the simulator from the command line, until SIGTERM or Ctrl-C."""

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from local.simulator.server import serving
from local.simulator.simulator import Simulator

_MAX_PORT = 65_535


def main() -> int:
    """Serve until a signal; return 0 after a signal, 1 if it could not start."""
    arguments = _parser().parse_args()
    # Block the signals before any thread starts, so that only sigwait below receives them.
    stop_signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop_signals)
    try:
        with tempfile.TemporaryDirectory(prefix="simulator-") as temporary:
            _serve(arguments, arguments.folder or Path(temporary), stop_signals)
    except (OSError, ValueError) as error:
        print(f"the simulator cannot run: {error}", file=sys.stderr)
        return 1
    return 0


def _serve(arguments: argparse.Namespace, folder: Path, stop_signals: set[signal.Signals]) -> None:
    simulator = Simulator(
        folder,
        keys=dict(arguments.key or [("sk-local", "default")]),
        processing_s=arguments.processing_seconds,
        expiry_s=arguments.expiry_seconds,
        fates=arguments.fates,
        seed=arguments.seed,
    )
    simulator.models.update(arguments.model)
    with serving(simulator, arguments.port) as url:
        if arguments.port_file:
            _write_atomically(arguments.port_file, url.rpartition(":")[2])
        print(url, flush=True)
        signal.sigwait(stop_signals)
    simulator.reset()  # deletes its files


def _write_atomically(file: Path, content: str) -> None:
    """Write a file atomically: a reader never sees a partial file."""
    draft = file.with_name(f".{file.name}.draft")
    draft.write_text(f"{content}\n")
    draft.replace(file)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m local.simulator",
        description="A simulator of the Message Batches API on 127.0.0.1. It prints its URL when "
        "it is ready, and stops on SIGTERM or Ctrl-C. Control: POST /_simulator/faults and others.",
    )
    add = parser.add_argument
    add("--port", type=_parse_port, default=0, help="0, the default, picks a free port")
    add("--folder", type=Path, help="where answers are stored (default: a temporary folder)")
    add("--port-file", type=Path, help="file that receives the port when it is ready")
    add(
        "--processing-seconds",
        type=_parse_seconds,
        default=2.0,
        metavar="S",
        help="processing time of a batch (2)",
    )
    add(
        "--expiry-seconds",
        type=_parse_seconds,
        default=86_400.0,
        metavar="S",
        help="expiry of a batch (86400)",
    )
    add(
        "--fates",
        type=_parse_fates,
        default={},
        help="shares of rows: expired=0.03,refusal=0.01,…",
    )
    add(
        "--seed",
        type=int,
        default=0,
        help="selects the rows with a fate, and the order of results",
    )
    add(
        "--key",
        type=_parse_key,
        action="append",
        metavar="KEY=WORKSPACE",
        help="(sk-local=default)",
    )
    add("--model", action="append", default=[], metavar="NAME", help="an additional model")
    return parser


def _parse_port(text: str) -> int:
    if not text.isdecimal() or int(text) > _MAX_PORT:
        message = f"a port is a number from 0 to 65535, not {text!r}"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def _parse_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not seconds >= 0:
        message = f"seconds are a number from 0 up, not {text!r}"
        raise argparse.ArgumentTypeError(message)
    return seconds


def _parse_fates(text: str) -> dict[str, float]:
    fates: dict[str, float] = {}
    for part in filter(None, text.split(",")):
        name, _, share = part.partition("=")
        try:
            fates[name.strip()] = float(share)
        except ValueError:
            message = f"write a fate as NAME=SHARE, such as expired=0.03, not {part!r}"
            raise argparse.ArgumentTypeError(message) from None
    return fates


def _parse_key(text: str) -> tuple[str, str]:
    key, _, workspace = text.partition("=")
    if not key or not workspace:
        message = "write a key as KEY=WORKSPACE, such as sk-local=default"
        raise argparse.ArgumentTypeError(message)
    return key, workspace


if __name__ == "__main__":
    sys.exit(main())
