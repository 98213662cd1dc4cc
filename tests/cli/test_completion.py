"""`relay --install-completion` works for bash, zsh and fish; bash is asked itself."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
SHELLS = ("bash", "zsh", "fish")
INSTALLED = {
    "bash": (".bash_completions/relay.sh", ".bashrc"),
    "zsh": (".zfunc/_relay", ".zshrc"),
    "fish": (".config/fish/completions/relay.fish", None),
}
"""The files that a shell reads: the completion, and what loads it."""
REQUESTS = {
    "bash": {"COMP_WORDS": "relay red", "COMP_CWORD": "1"},
    "zsh": {"_TYPER_COMPLETE_ARGS": "relay red"},
    "fish": {"_TYPER_COMPLETE_ARGS": "relay red", "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
}
"""How a shell asks for the commands that begin with `red`."""
NAMED_SHELL = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
"""Takes the shell from the arguments: otherwise, it is the one that runs `relay`."""


def run(*arguments: str, home: Path, **variables: str) -> str:
    process = subprocess.run(  # noqa: S603 - a list made here
        [*arguments],
        env={"PATH": f"{ROOT}:{os.environ['PATH']}", "HOME": str(home), **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not process.stderr
    return process.stdout


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_is_installed_and_answers(tmp_path: Path, shell: str) -> None:
    said = run("relay", "--install-completion", shell, home=tmp_path, **NAMED_SHELL)
    answer = run("relay", home=tmp_path, _RELAY_COMPLETE=f"complete_{shell}", **REQUESTS[shell])

    script, loader = INSTALLED[shell]
    assert f"{shell} completion installed" in said
    assert f"_RELAY_COMPLETE=complete_{shell}" in (tmp_path / script).read_text()
    assert loader is None or (tmp_path / loader).exists()
    assert "redrive" in answer
    assert "cancel" not in answer


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize("program", ["relay", str(ROOT / "relay")])
def test_bash_completes_a_command(tmp_path: Path, program: str) -> None:
    session = f"""
        eval "$(relay --show-completion)"
        COMP_WORDS=({program} red) COMP_CWORD=1
        complete -p relay >/dev/null && _relay_completion {program} && echo "${{COMPREPLY[@]}}"
    """

    assert run("bash", "-c", session, home=tmp_path) == "redrive\n"
