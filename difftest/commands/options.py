"""Options that several commands take."""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from difftest.case.image_options import ImageOptions
from difftest.errors import CaseError
from emulators.observation import Medium
from emulators.versions import VERSION_OPTIONS, VersionOption, Versions, given

CommandFunction = Callable[..., None]

EXIT_CODES = """Exit codes: 0 all as expected; 1 an unexpected divergence, or a known one that vanished; 2 wrong usage,
or nothing selected; 3 some case got no verdict, or nothing was compared; 4 difftest itself failed; 5 this machine
failed: its disk, an emulator that does not start, a mirror that does not answer; 130 interrupted."""

Results = Annotated[Path, typer.Option("--results", help="Folder that runs are kept in.")]
Folders = Annotated[list[Path] | None, typer.Option("--cases", help="More folders with cases; repeatable.")]
OfRun = Annotated[str, typer.Option("--run", help="The run's name or folder.")]
CheckName = Annotated[str, typer.Argument(help="A check of the run, as ID or CASE/ID.", metavar="CHECK")]
AllowSkips = Annotated[
    bool,
    typer.Option(
        "--allow-skips", help="Exit with 0 although a target lacks what a case needs, or nothing could be compared."
    ),
]
default_results = Path("results")
RunName = Annotated[str, typer.Argument(help="A run's name or folder.", metavar="[RUN]")]


def takes_versions(*, repeatable: bool, without: Collection[str] = ()) -> Callable[[CommandFunction], CommandFunction]:
    """Give a command the options of `emulators.versions`, but those `without`, where it has its parameter `versions`.

    It gets a list with one Versions for each combination of the values that were given: a single one unless options
    are `repeatable`. Raises CaseError when two are the same.
    """

    def taking(command: CommandFunction) -> CommandFunction:
        options = [option for option in VERSION_OPTIONS if option.name not in without]

        @functools.wraps(command)
        def called(**arguments: Any) -> None:
            values = {option.name: arguments.pop(option.name) for option in options}
            command(**arguments, versions=_combinations(values))

        signature = inspect.signature(command, eval_str=True)
        parameters = list(signature.parameters.values())
        at = list(signature.parameters).index("versions")
        parameters[at : at + 1] = [_parameter(option, repeatable) for option in options]
        called.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        return called

    return taking


def takes_image_options(command: CommandFunction) -> CommandFunction:
    """Give a command the options of an image without a manifest where it has its parameter `image`: ImageOptions."""

    @functools.wraps(command)
    def called(**arguments: Any) -> None:
        values = {name: arguments.pop(name) for name in _IMAGE_OPTIONS}
        values |= {name: values[name] or [] for name in ("modules", "volatile")}
        command(**arguments, image=ImageOptions(**values))

    signature = inspect.signature(command, eval_str=True)
    parameters = list(signature.parameters.values())
    at = list(signature.parameters).index("image")
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters[at : at + 1] = [
        inspect.Parameter(name, keyword, default="" if name in _TEXTS else None, annotation=annotation)
        for name, annotation in _IMAGE_OPTIONS.items()
    ]
    called.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return called


_TEXTS = ("command_line", "end", "end_screen")
_IMAGE_OPTIONS: dict[str, Any] = {
    "command_line": Annotated[
        str, typer.Option("--command-line", "-c", help="The command line of a multiboot or Linux kernel.")
    ],
    "modules": Annotated[
        list[str] | None,
        typer.Option("--module", "-m", help="A kernel's module, and its words: 'FILE word ...'; repeatable."),
    ],
    "second": Annotated[Path | None, typer.Option("--second-disk", help="A second hard disk.")],
    "medium": Annotated[
        Medium | None, typer.Option("--medium", help="What the image is of, where it could be several.")
    ],
    "memory_mib": Annotated[
        int | None, typer.Option("--memory", min=1, max=2048, help="RAM of the machine, MiB. Default: 256.")
    ],
    "end": Annotated[
        str, typer.Option("--end", metavar="REGEX", help="A line on COM1 or port 0xE9 with which the image ends.")
    ],
    "end_screen": Annotated[
        str, typer.Option("--end-screen", metavar="REGEX", help="What the text screen shows when the image has ended.")
    ],
    "volatile": Annotated[
        list[str] | None,
        typer.Option("--volatile", metavar="REGEX", help="What of the lines is not compared; repeatable."),
    ],
    "cpus": Annotated[int | None, typer.Option("--cpus", min=1, max=8, help="CPUs of the machine. Default: 1.")],
}


def _parameter(option: VersionOption, repeatable: bool) -> inspect.Parameter:
    kind: Any = list[str] | None if repeatable else str | None
    text = f"{option.help} Repeatable." if repeatable else option.help
    annotation = Annotated[kind, typer.Option(option.flag, help=text)]
    return inspect.Parameter(option.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _combinations(values: Mapping[str, list[str] | str | None]) -> list[Versions]:
    choices: list[Sequence[str | None]] = [
        [value] if isinstance(value, str) else value or [None] for value in values.values()
    ]
    found: list[Versions] = [dict(zip(values, one, strict=True)) for one in itertools.product(*choices)]
    if any(one in found[:number] for number, one in enumerate(found)):
        raise CaseError("a version is given twice", hint="each gives a run of its own")
    return found


def command_of(arguments: Sequence[str], versions: Versions) -> list[str]:
    """The command line that makes the run of these versions alone, out of one that may ask for several."""
    flags = [option.flag for option in VERSION_OPTIONS]
    arguments_left, words = ["difftest"], iter(arguments)
    for word in words:
        if word in flags:
            next(words, None)
        elif word.partition("=")[0] not in flags:
            arguments_left.append(word)
    return arguments_left + [part for option, value in given(versions).items() for part in (option.flag, value)]
