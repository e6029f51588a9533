"""The step `agent`: a LangChain agent inside a pipeline."""
