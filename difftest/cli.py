"""The command line: which commands there are, and how every error becomes one clear message and an exit code."""

from __future__ import annotations

import signal
import sys
from typing import Annotated, NoReturn

import typer

from difftest import __version__
from difftest.commands import (
    accept,
    add,
    bisect,
    bundle,
    cache,
    cases,
    compare,
    doctor,
    judge,
    kernels,
    new,
    report,
    run,
)
from difftest.commands.options import EXIT_CODES
from difftest.verdict import ExitCode

app = typer.Typer(
    name="difftest",
    help="Boots the same x86 disk image under Bochs and under KVM, and says where the two differ and who breaks the SDM.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,  # plain help: the drawn one costs a fifth of a second
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(epilog=EXIT_CODES)(run.run)
app.command("list")(cases.list_cases)
app.command()(cases.show)
app.command()(new.new)
app.command()(add.add)
app.command()(report.report)
app.command()(bundle.bundle)
app.command()(accept.accept)
app.command(epilog=EXIT_CODES)(judge.judge)
app.command(epilog=compare.EXIT_CODES)(compare.compare)
app.command(epilog=bisect.EXIT_CODES)(bisect.bisect)
app.command()(cache.cache)
app.command()(doctor.doctor)
app.command()(kernels.kernels)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"difftest {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    del version


def _fail(message: str, hint: str, code: ExitCode) -> NoReturn:
    from difftest.text import visible

    typer.echo(f"error: {visible(message, 6000, lines=True)}", err=True)
    if hint:
        typer.echo(f"hint: {visible(hint, 2000, lines=True)}", err=True)
    sys.exit(code)


def main() -> None:
    """Entry point: turns every error into one clear message and its exit code."""
    from difftest.errors import explained

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whatever was begun is cleaned up then, too
    try:
        app(standalone_mode=True)
    except KeyboardInterrupt:
        _fail("interrupted", "", ExitCode.INTERRUPTED)
    except Exception as error:
        told = explained(error)
        if told is None:
            raise
        _fail(told.message, told.hint, told.code)


if __name__ == "__main__":
    main()
