"""A folder of images with a list, `images.toml`: an `[[image]]` table for each, with the keys of a case's manifest."""

from __future__ import annotations

from pathlib import Path

import msgspec

from difftest.atomic import UnfitError, contents
from difftest.authoring.add import case_name
from difftest.case.manifest import Manifest, files_of
from difftest.errors import CaseError, refusal
from difftest.text import visible

LIST = "images.toml"
LARGEST = 1 << 20


def listed(folder: Path) -> list[tuple[Manifest, dict[str, Path | str]]]:
    """The manifests of the list, and the files of each by name. An image that has no name is named after its file.
    Raises CaseError.
    """
    path = folder / LIST
    try:
        document = msgspec.toml.decode(contents(path, LARGEST).decode(), type=dict[str, list[dict[str, object]]])
        tables = document.pop("image", [])
        if document or not tables:
            raise CaseError(f"{path}: it is a list of [[image]] tables, and of nothing else")
        found = [_manifest(table) for table in tables]
    except OSError as error:
        raise refusal(error, f"{path}: {error.strerror}", otherwise=CaseError) from error
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError, UnfitError, RecursionError) as error:
        words = visible(str(error), 300)
        raise CaseError(f"{path}: {words}", hint="an [[image]] has the keys of a case.toml (docs/suites.md)") from error
    names = [one.name for one in found]
    if twice := [name for name in names if names.count(name) > 1]:
        raise CaseError(f"{path}: two images are called {twice[0]}", hint="give one of them a name")
    result: list[tuple[Manifest, dict[str, Path | str]]] = []
    for manifest in found:
        files: dict[str, Path | str] = {}
        for name in files_of(manifest):
            file = folder / name
            if not file.is_file() or not file.resolve().is_relative_to(folder.resolve()):
                raise CaseError(f"{path}: {manifest.name}: there is no file {visible(name, 100)} beside the list")
            files[Path(name).name] = file
        modules = [_bare(module) for module in manifest.modules]
        bare = {
            "image": Path(manifest.image).name,
            "second_image": Path(manifest.second_image).name if manifest.second_image else "",
        }
        result.append((msgspec.structs.replace(manifest, **bare, modules=modules), files))
    return result


def _manifest(table: dict[str, object]) -> Manifest:
    name = table.get("name") or case_name(Path(str(table.get("image", ""))))
    return msgspec.convert({**table, "name": name}, type=Manifest)


def _bare(module: str) -> str:
    """A module's words, with its file's name alone."""
    name, space, words = module.partition(" ")
    return f"{Path(name).name}{space}{words}"
