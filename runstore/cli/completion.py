"""`runstore completion`: what makes a shell complete run ids at Tab."""

from __future__ import annotations

import click

from runstore.cli.manual import Manual, ManualCommand
from runstore.completion.shells import SHELLS, Shell, script

MANUAL = Manual(
    examples={"Try it in this bash only": "source <(runstore completion bash)"},
    statuses={"0": "the script was printed"},
    see=("runstore --help",),
)


@click.command("completion", cls=ManualCommand, manual=MANUAL)
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: Shell) -> None:
    """Print the script that makes SHELL complete at Tab, for runstore and runstore-tui.

    Commands and options, ids and names of runs, `latest`, streams, directories. Runs are looked for
    below --root as typed so far, else $RUNSTORE_ROOT, else ./runs.

    \b
    bash 4.4 or newer, for every new shell:
      runstore completion bash > ~/.runstore-completion.bash
      echo '. ~/.runstore-completion.bash' >> ~/.bashrc

    \b
    zsh; instead of ~/.zfunc, any directory of $fpath before compinit is called:
      mkdir -p ~/.zfunc && runstore completion zsh > ~/.zfunc/_runstore
      echo 'fpath=(~/.zfunc $fpath); autoload -Uz compinit; compinit' >> ~/.zshrc

    \b
    fish:
      mkdir -p ~/.config/fish/conf.d
      runstore completion fish > ~/.config/fish/conf.d/runstore.fish
    """
    click.echo(script(shell), nl=False)
