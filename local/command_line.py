"""The command line of `python -m local`: its arguments, its exit codes, and one sentence for each error."""

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from cli.errors import CommandError
from local import commands, interruption
from local.errors import LocalError
from local.workspace import Workspace

DESCRIPTION = """\
Run claude-batch-relay on this machine: the stack that `cdk deploy` deploys, in an emulator of AWS,
with a simulator of the Message Batches API. Nothing leaves this machine and nothing costs money,
unless CLAUDE=real and ANTHROPIC_API_KEY are set.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name; by default, those of the process.

    Returns:
        0 on success, 1 on failure, 2 for an invalid command line or file, 3 for a file that does not exist,
        130 after Ctrl-C.
    """
    parsed = _parser().parse_args(arguments)
    interruption.install()
    console = Console(stderr=False)
    try:
        interruption.check()
        command: Callable[[argparse.Namespace, Workspace, Console], int] = parsed.command
        return command(parsed, Workspace.of_this_clone(), console)
    except CommandError as error:
        return _print_error(str(error), error.code)
    except LocalError as error:
        return _print_error(str(error))
    except (BotoCoreError, ClientError) as error:
        return _print_error(f"the local cloud returned an error: {error}")
    except KeyboardInterrupt as interrupt:
        interruption.finish()
        stopped = "interrupted; everything that this command started was stopped"
        return _print_error(str(interrupt) or stopped, interruption.EXIT_CODE)


def _print_error(message: str, code: int = 1) -> int:
    with suppress(BrokenPipeError):
        print(f"claude-batch-relay: {message}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local", description=DESCRIPTION)
    subcommands = parser.add_subparsers(required=True, metavar="COMMAND")

    up = subcommands.add_parser("up", help="start it, leave it running, and print how to use it")
    up.add_argument(
        "--port", type=_parse_port, help="port of the emulated AWS (default: chosen once)"
    )
    up.set_defaults(command=commands.up)

    run = subcommands.add_parser("run", help="process files and wait for their results")
    run.add_argument(
        "files",
        nargs="*",
        type=Path,
        metavar="FILE",
        help="files of any kind that docs/formats.md names, with options beside them (default: the example)",
    )
    run.add_argument(
        "--into", type=Path, default=Path("results"), help="where results go (default: ./results)"
    )
    run.add_argument("--verbose", action="store_true", help="print every event as SNS sends it")
    run.set_defaults(command=commands.run)

    env = subcommands.add_parser(
        "env", help='print settings for a shell: eval "$(relay local env)"'
    )
    env.set_defaults(command=commands.env)

    down = subcommands.add_parser("down", help="stop what `up` left running")
    down.set_defaults(command=commands.down)
    return parser


def _parse_port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 2**16:
        message = f"a port is a number from 1 to 65535, not {text!r}"
        raise argparse.ArgumentTypeError(message)
    return int(text)
