"""API keys: the server shows a key once, when it is created, and stores only its hash.

The secret part of a key has 256 random bits, so one round of SHA-256 is enough: there is nothing to guess. The server
reads the file again whenever it has changed, and so refuses a revoked key at the next request.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock

from llmkit.errors import DataError, unknown
from llmkit.knowledge.access_labels import labels as read_labels
from llmkit.serve.auth.principal import SCOPES, Principal
from llmkit.serve.storage.private_files import make_private_folder, open_private

_KEY = re.compile(r"llmkit-([0-9a-f]{12})-([\w-]{43})")


@dataclass(frozen=True, slots=True)
class Key:
    """One API key, as stored in ``keys.json``."""

    id: str
    name: str
    sha256: str
    """Hash of the secret part."""
    scopes: tuple[str, ...]
    labels: tuple[str, ...]
    rate: int | None
    """Requests per minute; None means no limit."""
    max_upload: int | None
    """Bytes of one upload; None means the server's limit."""
    made: str
    """When the key was created, in ISO 8601."""
    revoked: str = ""
    """When the key was revoked, in ISO 8601; empty while the key is valid."""

    @property
    def principal(self) -> Principal:
        """The principal that the key stands for."""
        return Principal(self.id, self.name, frozenset(self.scopes), self.labels, self.rate, self.max_upload)


class KeyStore:
    """The API keys in a server's data folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "keys.json"
        self._lock = threading.Lock()
        self._cached: tuple[tuple[int, int, int], dict[str, Key]] | None = None

    def all_keys(self) -> list[Key]:
        """Return every key, revoked ones included, oldest first.

        Raises:
            DataError: the file of keys cannot be read.
        """
        return list(self._keys().values())

    def add(
        self,
        name: str,
        scopes: Sequence[str],
        *,
        labels: Sequence[str] = (),
        rate: int | None = None,
        max_upload: int | None = None,
    ) -> tuple[Key, str]:
        """Create a key and return it with its text. The text cannot be recovered later.

        Args:
            name: whom the key is for; several keys may share a name.
            scopes: what the key may do: ``ask``, ``ingest``, ``admin``.
            labels: access labels it reads with.
            rate: requests per minute; None means no limit.
            max_upload: bytes of one upload; None means the server's limit.

        Raises:
            DataError: a scope is unknown, a label is malformed, or the file cannot be written.
        """
        for scope in scopes:
            if scope not in SCOPES:
                raise DataError(unknown("scope", scope, SCOPES))
        secret = secrets.token_urlsafe(32)
        key = Key(
            id=secrets.token_hex(6),
            name=name,
            sha256=_digest(secret),
            scopes=tuple(sorted(set(scopes))),
            labels=read_labels(labels) if labels else (),
            rate=rate,
            max_upload=max_upload,
            made=_now(),
        )
        with self._transaction() as keys:
            keys[key.id] = key
        return key, f"llmkit-{key.id}-{secret}"

    def revoke(self, id_or_name: str) -> list[Key]:
        """Revoke the keys of an id or a name; return those that were valid until now.

        Raises:
            DataError: there is no such key.
        """
        revoked = []
        with self._transaction() as keys:
            matches = [key for key in keys.values() if id_or_name in (key.id, key.name)]
            if not matches:
                raise DataError(unknown("key", id_or_name, sorted({key.name for key in keys.values()})))
            for key in matches:
                if not key.revoked:
                    keys[key.id] = replace(key, revoked=_now())
                    revoked.append(key)
        return revoked

    def authenticate(self, text: str) -> Principal | None:
        """Return the principal of a key's text; None where the key is unknown or revoked.

        Raises:
            DataError: the file of keys cannot be read.
        """
        match = _KEY.fullmatch(text)
        key = self._keys().get(match.group(1)) if match else None
        if match is None or key is None or not hmac.compare_digest(key.sha256, _digest(match.group(2))):
            return None
        return None if key.revoked else key.principal

    def _keys(self) -> dict[str, Key]:
        with self._lock:
            try:
                stat = self.path.stat()
            except FileNotFoundError:
                return {}
            stamp = stat.st_mtime_ns, stat.st_size, stat.st_ino
            if self._cached is None or self._cached[0] != stamp:
                self._cached = stamp, _read_keys(self.path)
            return dict(self._cached[1])

    @contextmanager
    def _transaction(self) -> Iterator[dict[str, Key]]:
        """Yield the keys for a change, and write them at the end, under a lock that holds between processes."""
        try:
            make_private_folder(self.path.parent)
            with FileLock(f"{self.path}.lock", timeout=10, mode=0o600):
                keys = self._keys()
                yield keys
                draft = self.path.with_suffix(".tmp")
                with open_private(draft) as file:
                    json.dump([asdict(key) for key in keys.values()], file, indent=1)
                    file.flush()
                    os.fsync(file.fileno())
                draft.replace(self.path)
        except OSError as error:
            raise DataError(f"the API keys in {self.path} cannot be written: {error}") from error


def _read_keys(path: Path) -> dict[str, Key]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return {
            row["id"]: Key(**{**row, "scopes": tuple(row["scopes"]), "labels": tuple(row["labels"])}) for row in rows
        }
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"{path} cannot be read as API keys ({error}): every key is refused until the file is repaired or removed"
        ) from error


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
