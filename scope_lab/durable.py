"""Files and folders that appear whole or not at all, and are still there after a power cut."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import InputError

ENDINGS = ("unfinished", "removed", "replaced")  # of what stands, under another name, beside a file or folder


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Where to write a file: it gets its name when the block ends. Where the block raises, nothing has changed."""
    path = Path(path)
    unfinished = _beside(path, "unfinished")
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
    """The same for a folder, which is there and empty when the block begins.

    An older one of that name is kept beside it until the new one is in place: after a kill, `tidy` gives it its name.
    """
    path = Path(path)
    unfinished, replaced = _beside(path, "unfinished"), _beside(path, "replaced")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    try:
        yield unfinished
        for written in unfinished.rglob("*"):
            sync(written)
        sync(unfinished)
        if path.exists():
            shutil.rmtree(replaced, ignore_errors=True)
            os.replace(path, replaced)
        os.replace(unfinished, path)
    except BaseException:
        _put_back(replaced)
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    sync(path.parent)
    shutil.rmtree(replaced, ignore_errors=True)


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
    doomed = _beside(path, "removed")
    shutil.rmtree(doomed, ignore_errors=True)
    os.replace(path, doomed)
    shutil.rmtree(doomed)


def leftovers(folder: Path) -> list[Path]:
    """What kills left half-written, half-removed or half-replaced in a folder; no name ever points there."""
    return sorted(path for ending in ENDINGS for path in folder.glob(f".*.{ending}"))


def tidy(folder: Path) -> list[Path]:
    """Remove what kills left, but give a folder its name back where its replacement did not come.

    Returns what was half-written.
    """
    for path in folder.glob(".*.replaced"):
        _put_back(path)
    found = leftovers(folder)
    for path in found:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return [path for path in found if path.name.endswith(".unfinished")]


def sync(path: Path) -> None:
    """Bring a file, or a folder's list of names, to the disk; systems that cannot open a folder do so by themselves."""
    if os.name != "posix" and path.is_dir():
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(f".{path.name}.{ending}")


def _put_back(replaced: Path) -> None:
    path = replaced.with_name(replaced.name[1:].removesuffix(".replaced"))
    if replaced.exists() and not path.exists():
        os.replace(replaced, path)
