"""API keys: made once, shown once, kept as hashes.

A key is 256 random bits, so one round of SHA-256 hides it as well as many would. The file is read again when it has
changed: a key that is revoked is refused at the next request.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock

from llmkit.errors import DataError, unknown
from llmkit.knowledge.access_labels import labels as read_labels
from llmkit.serve.auth.principal import SCOPES, Caller

_KEY = re.compile(r"llmkit-([0-9a-f]{12})-([\w-]{43})")


@dataclass(frozen=True, slots=True)
class Key:
    """What is known of a key."""

    id: str
    name: str
    sha256: str
    """Of its secret part."""
    scopes: tuple[str, ...]
    labels: tuple[str, ...]
    rate: int | None
    """Requests a minute."""
    max_upload: int | None
    """Bytes of one upload."""
    made: str
    revoked: str = ""
    """When; empty: it is in force."""

    @property
    def caller(self) -> Caller:
        """Who asks with it."""
        return Caller(self.id, self.name, frozenset(self.scopes), self.labels, self.rate, self.max_upload)


class KeyRing:
    """The keys of a server's data folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "keys.json"
        self._lock = threading.Lock()
        self._read: tuple[tuple[int, int, int], dict[str, Key]] | None = None

    def every(self) -> list[Key]:
        """Every key, revoked ones too, in the order they were made.

        Raises:
            DataError: the file cannot be read as keys.
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
        """Make a key; returns it with its text, which is shown this once.

        Raises:
            DataError: an unknown scope, what is no label, or the file cannot be written.
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
        with self._writing() as found:
            found[key.id] = key
        return key, f"llmkit-{key.id}-{secret}"

    def revoke(self, which: str) -> list[Key]:
        """Revoke the keys of that id or name; returns those that were in force.

        Raises:
            DataError: there is none.
        """
        gone = []
        with self._writing() as found:
            named = [key for key in found.values() if which in (key.id, key.name)]
            if not named:
                raise DataError(unknown("key", which, sorted({key.name for key in found.values()})))
            for key in named:
                if not key.revoked:
                    found[key.id] = replace(key, revoked=_now())
                    gone.append(key)
        return gone

    def caller(self, text: str) -> Caller | None:
        """Whose key this is; None where it is nobody's, or revoked."""
        match = _KEY.fullmatch(text)
        key = self._keys().get(match.group(1)) if match else None
        if match is None or key is None or not hmac.compare_digest(key.sha256, _digest(match.group(2))):
            return None
        return None if key.revoked else key.caller

    def _keys(self) -> dict[str, Key]:
        with self._lock:
            try:
                stat = self.path.stat()
            except FileNotFoundError:
                return {}
            stamp = stat.st_mtime_ns, stat.st_size, stat.st_ino
            if self._read is None or self._read[0] != stamp:
                self._read = stamp, _parsed(self.path)
            return dict(self._read[1])

    def _writing(self) -> _Writing:
        return _Writing(self)


class _Writing:
    """The keys, for a change that another process cannot undo."""

    def __init__(self, ring: KeyRing) -> None:
        self.ring = ring
        try:
            ring.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{ring.path} cannot be written: {error}") from error
        self.lock = FileLock(f"{ring.path}.lock", timeout=10)

    def __enter__(self) -> dict[str, Key]:
        self.lock.acquire()
        try:
            self.found = self.ring._keys()
        except BaseException:
            self.lock.release()
            raise
        return self.found

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                draft = self.ring.path.with_suffix(".tmp")
                with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                    json.dump([asdict(key) for key in self.found.values()], file, indent=1)
                    file.flush()
                    os.fsync(file.fileno())
                draft.replace(self.ring.path)
        except OSError as error:
            raise DataError(f"{self.ring.path} cannot be written: {error}") from error
        finally:
            self.lock.release()


def _parsed(path: Path) -> dict[str, Key]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return {
            row["id"]: Key(**{**row, "scopes": tuple(row["scopes"]), "labels": tuple(row["labels"])}) for row in rows
        }
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path} cannot be read as keys ({error}): nobody is let in until it can") from error


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
