"""The command line: which commands there are, and how every error becomes one clear message and an exit code."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, NamedTuple, NoReturn

import typer

from difftest import __version__
from difftest.commands.options import EXIT_CODES
from difftest.verdict import ExitCode

GC_THRESHOLD = 20_000  # objects between two looks for garbage; what is loaded at the start is none of it


class Command(NamedTuple):
    """Where a command is, and whether its help ends with exit codes: its module's own, or else those of all."""

    module: str
    function: str
    exit_codes: bool = False


# In the order in which they are listed. A command line loads the module of its own command alone.
COMMANDS = {
    "run": Command("run", "run", exit_codes=True),
    "list": Command("cases", "list_cases"),
    "show": Command("cases", "show"),
    "new": Command("new", "new"),
    "add": Command("add", "add"),
    "report": Command("report", "report"),
    "bundle": Command("bundle", "bundle"),
    "accept": Command("accept", "accept"),
    "judge": Command("judge", "judge", exit_codes=True),
    "compare": Command("compare", "compare", exit_codes=True),
    "bisect": Command("bisect", "bisect", exit_codes=True),
    "cache": Command("cache", "cache"),
    "doctor": Command("doctor", "doctor"),
    "kernels": Command("kernels", "kernels"),
}


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"difftest {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    del version


def application(arguments: Sequence[str] | None = None) -> typer.Typer:
    """The program with all its commands, or only with the one that these arguments begin with."""
    app = typer.Typer(
        name="difftest",
        help="Boots the same x86 disk image under Bochs and under KVM, and says where the two differ and who breaks "
        "the SDM.",
        epilog=EXIT_CODES,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
        rich_markup_mode=None,  # plain help: the drawn one costs a fifth of a second
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    only = arguments[0] if arguments else ""
    for name, command in {only: COMMANDS[only]}.items() if only in COMMANDS else COMMANDS.items():
        module = import_module(f"difftest.commands.{command.module}")
        epilog = getattr(module, "EXIT_CODES", EXIT_CODES) if command.exit_codes else None
        app.command(name, epilog=epilog)(getattr(module, command.function))
    return app


def _leave(code: int) -> NoReturn:
    """End at once: all that was begun is cleaned up by now, and taking the interpreter apart takes its time."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # nobody reads any more
            code = code or 120  # as Python itself would
    os._exit(code)


def _fail(message: str, hint: str, code: ExitCode) -> NoReturn:
    from difftest.text import visible

    typer.echo(f"error: {visible(message, 6000, lines=True)}", err=True)
    if hint:
        typer.echo(f"hint: {visible(hint, 2000, lines=True)}", err=True)
    _leave(code)


def main() -> None:
    """Entry point: turns every error into one clear message and its exit code."""
    from difftest.errors import explained

    gc.set_threshold(GC_THRESHOLD)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whatever was begun is cleaned up then, too
    try:
        application(sys.argv[1:])(standalone_mode=True)
    except SystemExit as left:
        if left.code is None or isinstance(left.code, int):
            _leave(left.code or 0)
        raise
    except KeyboardInterrupt:
        _fail("interrupted", "", ExitCode.INTERRUPTED)
    except Exception as error:
        told = explained(error)
        if told is None:
            raise
        _fail(told.message, told.hint, told.code)


def __getattr__(name: str) -> typer.Typer:
    """`app`, for who wants all commands."""
    if name == "app":
        return application()
    raise AttributeError(name)


if __name__ == "__main__":
    main()
