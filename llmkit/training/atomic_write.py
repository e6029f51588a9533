"""Files and folders that appear whole or not at all, also after ``kill -9`` and a power cut."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from llmkit.errors import DataError

_READABLE = 0o644  # safetensors creates files that only their owner can read


def write_tensors(path: Path, tensors: Mapping[str, Any], header: Mapping[str, str]) -> None:
    """Write a safetensors file under a temporary name, flush it to the disk, and rename it.

    Args:
        path: the file; its folder is created if it does not exist, and removed again if the write fails and leaves it
            empty.
        tensors: torch tensors of any device.
        header: metadata of the file.

    Raises:
        DataError: the file cannot be written, as on a full disk. A file that was at `path` before is unchanged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: value.contiguous().cpu() for name, value in tensors.items()}, temporary, dict(header))
        temporary.chmod(_READABLE)
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    except (SafetensorError, OSError) as error:  # safetensors raises its own error on a full disk
        temporary.unlink(missing_ok=True)
        with suppress(OSError):
            path.parent.rmdir()
        raise DataError(f"{path} cannot be written: {error}; make room and run the same command again") from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replace_folder(folder: Path) -> Iterator[Path]:
    """Give a new, empty folder that takes the place of `folder` when the block ends without an error.

    The old folder is renamed to ``NAME.old`` first and removed last. If the process dies between the two renames,
    :func:`recover_folder` brings the old folder back.

    Raises:
        DataError: the disk is full or cannot be written. The old folder is unchanged, and the new one is removed.
    """
    from safetensors import SafetensorError

    new, old = (folder.with_name(f"{folder.name}.{word}") for word in ("new", "old"))
    try:
        recover_folder(folder)
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        yield new
        for path in new.rglob("*"):
            if path.suffix == ".safetensors":
                path.chmod(_READABLE)
            sync(path)
        sync(new)
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)
            folder.rename(old)
        new.rename(folder)
        sync(folder.parent)
    except (SafetensorError, OSError) as error:
        raise DataError(
            f"{folder} cannot be written: {error}; make room and run the same command again. What was there before is "
            "unchanged"
        ) from error
    finally:
        shutil.rmtree(new, ignore_errors=True)
        recover_folder(folder)
    shutil.rmtree(old, ignore_errors=True)


def recover_folder(folder: Path) -> None:
    """Bring back the old folder if a crash happened between the two renames of :func:`replace_folder`."""
    old = folder.with_name(f"{folder.name}.old")
    if old.is_dir() and not folder.exists():
        old.rename(folder)


def sync(path: Path) -> None:
    """Flush the content of a file, or the names in a folder, to the disk."""
    if os.name != "posix":
        return  # Windows cannot open a folder, and flushes only files that are open for writing
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
