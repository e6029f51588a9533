"""The wheel: data folders inside, nothing stray, and it works from an empty folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile

import pytest
from conftest import REPOSITORY

SCRIPT = """
import json, llmkit
from llmkit import assets, load_pipeline, prompts
print(json.dumps([llmkit.__file__, str(assets.shipped("pipelines")), load_pipeline("docs-qa").name, prompts.load("answer@v1").ref]))
"""


@pytest.mark.slow
@pytest.mark.network
def test_the_wheel_holds_the_data_folders_and_runs(tmp_path):
    (REPOSITORY / "pipelines" / "ignored.tmp").write_text("x")
    try:
        command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, REPOSITORY]
        subprocess.run(command, check=True, capture_output=True)
    finally:
        (REPOSITORY / "pipelines" / "ignored.tmp").unlink()
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    inside = {name.split("/")[0] for name in names}
    assert inside <= {"llmkit", wheel.name.split("-py3")[0] + ".dist-info"}
    for file in ("pipelines/docs-qa.yaml", "prompts/answer/v1.md", "prompts/LOCK.json"):
        assert f"llmkit/_assets/{file}" in names
    for path in (REPOSITORY / "llmkit" / "serve" / "page").iterdir():
        assert f"llmkit/serve/page/{path.name}" in names
    assert not [name for name in names if name.endswith((".pyc", ".tmp")) or "/tests/" in name or "ignored" in name]

    home = tmp_path / "venv"
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    zipfile.ZipFile(wheel).extractall(site)
    # the other packages of this environment, but not llmkit itself: its editable finder is a .pth, which is not read
    environment = {**os.environ, "PYTHONPATH": sysconfig.get_path("purelib")}
    empty = tmp_path / "empty"
    empty.mkdir()
    code = f"import sys; sys.path.insert(0, {site!r}); {SCRIPT.strip().replace(chr(10), '; ')}"
    done = subprocess.run([python, "-c", code], cwd=empty, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    file, shipped, name, ref = json.loads(done.stdout)
    assert file.startswith(str(tmp_path))
    assert "_assets" in shipped
    assert (name, ref) == ("docs-qa", "answer@v1")
