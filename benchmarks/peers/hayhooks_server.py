"""hayhooks with one pipeline whose generator says a fixed text: python hayhooks_server.py PORT TEXT."""

import os
import sys
import tempfile
from pathlib import Path

WRAPPER = """
import os
from hayhooks import BasePipelineWrapper, get_last_user_message
from haystack import Pipeline, component


@component
class Fixed:
    @component.output_types(replies=list[str])
    def run(self, prompt: str):
        return {"replies": [os.environ["FIXED"]]}


class PipelineWrapper(BasePipelineWrapper):
    def setup(self) -> None:
        self.pipeline = Pipeline()
        self.pipeline.add_component("model", Fixed())

    def run_chat_completion(self, model: str, messages: list[dict], body: dict) -> str:
        result = self.pipeline.run({"model": {"prompt": get_last_user_message(messages)}})
        return result["model"]["replies"][0]
"""

if __name__ == "__main__":
    port, text = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "fixed").mkdir()
        (Path(folder) / "fixed" / "pipeline_wrapper.py").write_text(WRAPPER)
        os.environ |= {"FIXED": text, "HAYHOOKS_PIPELINES_DIR": folder, "HAYHOOKS_SHOW_TRACEBACKS": "false"}
        import uvicorn
        from hayhooks import create_app

        uvicorn.run(create_app(), host="127.0.0.1", port=int(port), log_level="warning", access_log=False)
