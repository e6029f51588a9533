"""Files and folders that only the user who runs the server can read: mode 0600 and 0700.

Windows has no such modes; there the functions create the files and folders and set nothing.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Any

from llmkit.errors import DataError

_FILE, _FOLDER = 0o600, 0o700


def make_private_folder(path: Path) -> Path:
    """Create a folder, with its missing parents, that only its owner can open; return its path.

    Raises:
        OSError: the folder cannot be created.
    """
    missing = []
    folder = path
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for folder in reversed(missing):
        folder.mkdir(mode=_FOLDER, exist_ok=True)
    if missing:
        path.chmod(_FOLDER)  # the process's umask may have taken bits away
    return path


def open_private(path: Path, mode: str = "w", **options: Any) -> IO[Any]:
    """Open a file for writing as :func:`open` does, and create it with mode 0600.

    Raises:
        OSError: the file cannot be opened.
    """
    return open(path, mode, opener=lambda name, flags: os.open(name, flags, _FILE), **options)


def create_private_file(path: Path) -> Path:
    """Create an empty file with mode 0600 where there is none; return its path.

    SQLite gives its ``-wal`` and ``-shm`` files the mode of the database file.

    Raises:
        OSError: the file or its folder cannot be created.
    """
    make_private_folder(path.parent)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, _FILE))
    return path


def restrict_folder(path: Path) -> int:
    """Take away what other users may do with a folder and everything in it; return how many entries changed.

    The folder is created where it does not exist. Symbolic links are left alone, and so is what they point to.

    Raises:
        DataError: an entry belongs to somebody else, or the folder cannot be created.
    """
    try:
        make_private_folder(path)
        if os.name == "nt":
            return 0
        changed = int(_restrict(path, _FOLDER))
        for folder, folders, files in os.walk(path):
            changed += sum(_restrict(Path(folder, name), _FOLDER) for name in folders)
            changed += sum(_restrict(Path(folder, name), _FILE) for name in files)
    except OSError as error:
        raise DataError(
            f"{path} holds API keys and private files, and its permissions cannot be set to its owner alone: {error}; "
            "run the server as the owner of that folder, or name another one with --data"
        ) from error
    return changed


def _restrict(path: Path, mode: int) -> bool:
    """Clear the permission bits beyond `mode`; False where none were set."""
    if path.is_symlink():
        return False
    current = path.stat().st_mode & 0o7777
    if current & ~mode == 0:
        return False
    path.chmod(current & mode)
    return True
