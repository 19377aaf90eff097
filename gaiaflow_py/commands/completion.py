"""`gaiaflow-setup completion`."""

from __future__ import annotations

import click

from gaiaflow_py import options as opts

SHELLS = ("bash", "zsh", "fish")


@opts.command("completion", "completion bash", "completion fish > ~/.config/fish/completions/gaiaflow-setup.fish")
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> None:
    r"""Print what makes a shell complete commands, options and names.

    \b
    For this session:  source <(gaiaflow-setup completion bash)
    For every one, write it to:
      bash  ~/.local/share/bash-completion/completions/gaiaflow-setup
      zsh   ~/.zfunc/_gaiaflow-setup (with ~/.zfunc in fpath, before compinit)
      fish  ~/.config/fish/completions/gaiaflow-setup.fish
    """
    from click.shell_completion import get_completion_class

    from gaiaflow_py.called import PROGRAM
    from gaiaflow_py.cli import COMPLETE_VARIABLE, cli

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(cli, {}, PROGRAM, COMPLETE_VARIABLE).source())
