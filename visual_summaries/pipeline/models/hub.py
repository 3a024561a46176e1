"""Networks that others publish: the libraries that build them, and their files, in a folder or on Hugging Face."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from visual_summaries.pipeline.documents import DocumentError, parse_json
from visual_summaries.pipeline.models.classifier import ClassifierError

CONFIGURATION = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLED = (".bin", ".pth", ".pt", ".ckpt", ".pkl")
# Names in a message.
SHOWN = 3
# Neither code nor anything that would have to be unpickled.
WANTED = (
    CONFIGURATION,
    "preprocessor_config.json",
    "processor_config.json",
    WEIGHTS,
    INDEX,
    "model-*-of-*.safetensors",
)


def library(name: str, extra: str) -> Any:
    """Import an optional library.

    Raises:
        ClassifierError: it is not installed, or cannot be imported.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] == name:
            raise ClassifierError(
                f"the package {name} is not installed; install it with pip install 'visual-summaries[{extra}]'"
            ) from None
        raise ClassifierError(f"importing {name} failed: {one_line(error)}") from error
    except Exception as error:  # Packages that do not go together raise anything.
        raise ClassifierError(f"importing {name} failed: {one_line(error)}") from error


def published(name: str, with_weights: bool = True) -> Path:
    """The folder of what a person wrote after `hf:`: one of their own, or a repository's in the local cache.

    Args:
        name: a path; or `owner/repository`, and `@revision` after it if wanted, which is downloaded if the cache has
            it not, said in a line on standard error.
        with_weights: whether a repository must have them, as safetensors.

    Raises:
        ClassifierError: there is no such folder or repository, no connection to get it, or a repository has not what
            is needed, with the names of what it has.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    repository, _, revision = name.partition("@")
    if name.startswith(("/", ".", "~")) or repository.count("/") != 1 or not all(repository.split("/")):
        raise ClassifierError(f"hf:{name}: there is no such folder, and a repository is written hf:owner/name")
    hub = library("huggingface_hub", "huggingface")
    options = {"revision": revision or None, "allow_patterns": list(WANTED)}
    try:
        found = Path(hub.snapshot_download(repository, local_files_only=True, **options))
        if _has(found, with_weights):
            return found
    except Exception:  # Not in the cache; whatever else is wrong shows in a moment.
        pass
    found = _download(hub.snapshot_download, repository, f"{name} ", **options)
    if not _has(found, with_weights):
        _refuse(hub, name, repository, revision)
    return found


def _has(folder: Path, weights: bool) -> bool:
    return (folder / CONFIGURATION).is_file() and (
        not weights or (folder / WEIGHTS).is_file() or (folder / INDEX).is_file()
    )


def _refuse(hub: Any, name: str, repository: str, revision: str) -> None:
    """Raise ClassifierError with what a repository has instead of what is needed."""
    try:
        files = sorted(hub.list_repo_files(repository, revision=revision or None))
    except Exception:  # The connection that was there is gone, or the copy is a cache's.
        files = []
    if files and CONFIGURATION not in files:
        raise ClassifierError(
            f"hf:{name}: the repository has no {CONFIGURATION}, so it is no network of transformers or timm; it has "
            f"{_some(files)}"
        )
    pickled = [file for file in files if file.endswith(PICKLED)]
    if pickled:
        raise ClassifierError(
            f"hf:{name}: the repository has {_some(pickled)} but no {WEIGHTS}, and of a repository safetensors alone "
            "are read, since anything else would have to be unpickled; where you trust the file, download it, load the "
            "network and save it again with save_pretrained, or give the file as --weights"
        )
    others = [file for file in files if file.endswith(".safetensors")]
    there = f"; it has {_some(others)}, which can be given as --weights once it is downloaded" if others else ""
    raise ClassifierError(f"hf:{name}: the repository has no {WEIGHTS}{there}")


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def published_file(repository: str, file: str) -> Path:
    """One file of a repository, from the cache or downloaded, as `published`."""
    hub = library("huggingface_hub", "huggingface")
    try:
        return Path(hub.hf_hub_download(repository, file, local_files_only=True))
    except Exception:  # As above.
        return _download(hub.hf_hub_download, repository, f"{file} of {repository} ", filename=file)


def _download(get: Any, repository: str, what: str, **options: Any) -> Path:
    print(f"downloading {what}from Hugging Face", file=sys.stderr)
    try:
        return Path(get(repository, **options))
    except Exception as error:  # Of the library, of its transport, or of the disk.
        if told := _told(error, repository, what.strip()):
            raise ClassifierError(told) from None
        # What the library says of it is long; the reason is what it says that of.
        cause = error.__cause__ if isinstance(error, FileNotFoundError) and error.__cause__ else error
        raise ClassifierError(
            f"{what}is not in the cache of Hugging Face and could not be downloaded ({type(cause).__name__}: "
            f"{one_line(cause)}); download it where there is a connection (hf download {repository} --local-dir "
            "FOLDER) and give the folder: --model hf:FOLDER"
        ) from None


def _told(error: Exception, repository: str, what: str) -> str | None:
    """Of an answer that Hugging Face gave: what it means; None where there was none."""
    errors = importlib.import_module("huggingface_hub.errors")
    if isinstance(error, errors.GatedRepoError):
        return (
            f"{repository}: Hugging Face gives it only to those who have accepted its terms: accept them on its page, "
            "log in with hf auth login, and begin again"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            f"Hugging Face has no repository {repository}, or a private one; check the name, or log in with hf auth "
            "login"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{what}: the repository {repository} has no such revision"
    if isinstance(error, errors.EntryNotFoundError) and not isinstance(error, errors.LocalEntryNotFoundError):
        return f"{what}: the repository {repository} has no such file; give the weights as a file"
    return None


def read_configuration(path: Path) -> dict[str, Any]:
    """A JSON file of settings.

    Raises:
        ClassifierError: it is not there, or holds anything else.
    """
    try:
        content = parse_json(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ClassifierError(f"{path.parent} has no {path.name}; give a folder as save_pretrained writes it") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ClassifierError(f"{path}: cannot be read: {one_line(error)}") from None
    except DocumentError as error:
        raise ClassifierError(f"{path}: {error}") from None
    if not isinstance(content, dict):
        raise ClassifierError(f"{path}: holds {type(content).__name__} rather than settings by name")
    return content


def weights_of(folder: Path) -> Path:
    """The safetensors file of a folder with one network in one file.

    Raises:
        ClassifierError: there is none, with what to do about what there is.
    """
    if (folder / WEIGHTS).is_file() or (folder / INDEX).is_file():
        return folder / WEIGHTS
    pickled = sorted(path.name for path in folder.glob("*") if path.suffix in PICKLED)
    if pickled:
        raise ClassifierError(
            f"{folder} has {pickled[0]} but no {WEIGHTS}: of a folder safetensors alone are read; where you trust the "
            "file, load the network and save it again with save_pretrained, or give it as --weights"
        )
    raise ClassifierError(f"{folder} has no {WEIGHTS}; download it, or give a weights file with --weights")


def one_line(error: BaseException, longest: int = 200) -> str:
    """The first of what an exception says."""
    said = " ".join(str(error).split()) or type(error).__name__
    return said if len(said) <= longest else said[: longest - 1] + "…"
