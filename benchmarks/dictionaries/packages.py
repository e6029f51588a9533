"""Files inside wheels and Debian packages, read where they are: nothing is unpacked to disk."""

from __future__ import annotations

import re
import subprocess
import tarfile
import zipfile
from pathlib import Path


def read(package: Path, wanted: str) -> dict[str, bytes]:
    """The regular files of a `.whl` or `.deb` whose path has a match of the pattern, by path, sorted."""
    pattern = re.compile(wanted)
    if package.suffix == ".whl":
        with zipfile.ZipFile(package) as wheel:
            return {name: wheel.read(name) for name in sorted(wheel.namelist()) if pattern.search(name)}
    found = {}
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE) as process:
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
                for member in archive:
                    if member.isfile() and pattern.search(member.name):
                        found[member.name.removeprefix("./")] = archive.extractfile(member).read()
            process.stdout.read()  # what pads the end, or dpkg-deb would stop at a closed pipe
        except tarfile.ReadError as error:
            raise SystemExit(f"{package} is no Debian package that can be read: {error}") from error
    if process.returncode:
        raise SystemExit(f"dpkg-deb cannot read {package}")
    return dict(sorted(found.items()))


def one(folder: Path, pattern: str) -> Path:
    """The one package of the folder with such a name."""
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise SystemExit(f"{folder} has {len(found)} packages {pattern}, 1 is needed: see fetch.sh")
    return found[0]
