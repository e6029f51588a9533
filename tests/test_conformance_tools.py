"""Our own tools through the suite that we ship."""

from __future__ import annotations

import pytest

from llmkit import registry
from llmkit.agents.tools.calculator_clock_units import Calculator, Convert, Now
from llmkit.agents.tools.files import ReadFile, WriteFile
from llmkit.testing.tool_suite import ToolSuite


class _Small(ToolSuite):
    @pytest.fixture
    def ctx(self):
        return None


class TestCalculator(_Small):
    @pytest.fixture
    def toolbox(self):
        return Calculator()

    @pytest.fixture
    def arguments(self):
        return {"expression": "2 + 2"}


class TestNow(_Small):
    @pytest.fixture
    def toolbox(self):
        return Now()

    @pytest.fixture
    def arguments(self):
        return {}


class TestConvert(_Small):
    @pytest.fixture
    def toolbox(self):
        return Convert()

    @pytest.fixture
    def arguments(self):
        return {"value": 3, "from": "km", "to": "mile"}


class TestReadFile(_Small):
    @pytest.fixture
    def toolbox(self, tmp_path):
        (tmp_path / "a.txt").write_text("hello")
        return ReadFile(root=str(tmp_path))

    @pytest.fixture
    def arguments(self):
        return {"path": "a.txt"}


class TestWriteFile(_Small):
    @pytest.fixture
    def toolbox(self, tmp_path):
        return WriteFile(root=str(tmp_path / "out"))

    @pytest.fixture
    def arguments(self):
        return {"path": "a.txt", "text": "hello"}


def test_every_tool_without_a_server_or_a_file_is_one():
    for word in ("search", "calculator", "now", "convert", "python"):
        ToolSuite().test_it_says_what_it_is(registry.lookup("tool", word)())
