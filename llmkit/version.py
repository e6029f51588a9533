"""The version, in a module of the lowest floor: inside the package, nothing imports ``llmkit`` itself."""

__version__ = "0.1.0"
