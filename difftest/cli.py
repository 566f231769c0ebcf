"""The command line: which commands there are, and how every error becomes one clear message and an exit code."""

from __future__ import annotations

import functools
import gc
import os
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Annotated, Any, NamedTuple, NoReturn

import typer

from difftest import __version__
from difftest.commands.options import EXIT_CODES
from difftest.commands.streams import open_streams
from difftest.verdict import ExitCode, GitExitCode

GC_THRESHOLD = 20_000  # objects between two looks for garbage; what is loaded at the start is none of it


class Command(NamedTuple):
    """Where a command is, and whether its help ends with exit codes: its module's own, or else those of all."""

    module: str
    function: str
    exit_codes: bool = False


# In the order in which they are listed. A command line loads the module of its own command alone.
COMMANDS = {
    "run": Command("run", "run", exit_codes=True),
    "sweep": Command("sweep", "sweep", exit_codes=True),
    "promote": Command("sweep", "promote"),
    "merge": Command("sweep", "merge"),
    "list": Command("cases", "list_cases"),
    "show": Command("cases", "show"),
    "new": Command("new", "new"),
    "add": Command("add", "add"),
    "add-suite": Command("add_suite", "add_suite"),
    "report": Command("report", "report"),
    "trace": Command("trace", "trace"),
    "debug": Command("debug", "debug"),
    "export": Command("export", "export"),
    "bundle": Command("bundle", "bundle"),
    "accept": Command("accept", "accept"),
    "judge": Command("judge", "judge", exit_codes=True),
    "compare": Command("compare", "compare", exit_codes=True),
    "history": Command("history", "history"),
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
        app.command(name, epilog=epilog)(_guarded(getattr(module, command.function)))
    return app


def _guarded(command: Callable[..., None]) -> Callable[..., None]:
    """The command, with the errors in groups that typer would make exit codes of its own of."""

    @functools.wraps(command)
    def call(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
        except (OSError, EOFError) as error:
            raise ExceptionGroup("in the command", [error]) from None

    return call


def main() -> NoReturn:
    """Entry point: turns every error into one clear message and its exit code."""
    gc.set_threshold(GC_THRESHOLD)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, signal.default_int_handler)  # what was begun is cleaned up
    open_streams()
    code = code_of(lambda: application(sys.argv[1:])(standalone_mode=True))
    written = code_of(sys.stdout.flush)
    if for_git_bisect(sys.argv[1:]) and (code or written) not in set(GitExitCode):
        code = GitExitCode.STOP
    sys.stderr.flush()
    # End at once: all that was begun is cleaned up by now, and taking the interpreter apart takes its time.
    os._exit(code or written)


def for_git_bisect(arguments: Sequence[str]) -> bool:
    """Whether the exit code is to be one for `git bisect run`, also where the command line cannot be understood."""
    pairs = zip(arguments, [*arguments[1:], ""], strict=True)
    return any(pair == ("--exit-code", "git-bisect") or pair[0] == "--exit-code=git-bisect" for pair in pairs)


def code_of(act: Callable[[], object]) -> int:
    """Do something; the exit code that it ends with. What goes wrong is printed."""
    from difftest.errors import error_report, show_traceback

    try:
        act()
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else 0
    except BaseException as error:
        show_traceback(error)
        reason = error_report(error)
        _print("error", reason.message, 6000)
        if reason.hint:
            _print("hint", reason.hint, 2000)
        return reason.code
    return ExitCode.EXPECTED


def _print(kind: str, words: str, limit: int) -> None:
    from difftest.text import visible

    typer.echo(f"{kind}: {visible(words, limit, lines=True)}", err=True)


def __getattr__(name: str) -> typer.Typer:
    """`app`, for who wants all commands."""
    if name == "app":
        return application()
    raise AttributeError(name)


if __name__ == "__main__":
    main()
