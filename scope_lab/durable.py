"""Files and folders that appear whole or not at all, and are still there after a power cut."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import InputError


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Where to write a file: it gets its name when the block ends. Where the block raises, nothing has changed."""
    path = Path(path)
    unfinished = _unfinished(path)
    try:
        yield unfinished
        sync(unfinished)
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    sync(path.parent)


@contextmanager
def whole_folder(path: str | Path) -> Iterator[Path]:
    """The same for a folder, which is there and empty when the block begins; an older one of that name goes."""
    path = Path(path)
    unfinished = _unfinished(path)
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    try:
        yield unfinished
        for written in unfinished.rglob("*"):
            sync(written)
        sync(unfinished)
        if path.exists():
            remove_folder(path)
        os.replace(unfinished, path)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    sync(path.parent)


def check_writable(path: str | Path, what: str) -> None:
    """Raises InputError, which calls it `what`, where a file cannot be put: to be asked before the work for it is done.

    Folders that are missing above it can be made, unless something else is in their place.
    """
    path = Path(path)
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if path.is_dir() or not above.is_dir() or not os.access(above, os.W_OK) or not path.name:
        raise InputError(f"{what}: {path} cannot be written; accepted a file's name in a folder of yours")


def write_text(path: str | Path, text: str) -> None:
    """A text file, whole or not at all."""
    with whole_file(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def remove_folder(path: Path) -> None:
    """Remove a folder; a kill half-way leaves nothing under its name."""
    doomed = path.with_name(f".{path.name}.removed")
    shutil.rmtree(doomed, ignore_errors=True)
    os.replace(path, doomed)
    shutil.rmtree(doomed)


def leftovers(folder: Path) -> list[Path]:
    """What kills left half-written or half-removed in a folder; no name ever points there."""
    return sorted(path for ending in ("unfinished", "removed") for path in folder.glob(f".*.{ending}"))


def sync(path: Path) -> None:
    """Bring a file, or a folder's list of names, to the disk; systems that cannot open a folder do so by themselves."""
    if os.name != "posix" and path.is_dir():
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unfinished(path: Path) -> Path:
    return path.with_name(f".{path.name}.unfinished")
