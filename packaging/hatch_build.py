"""Build hooks that the three distributions share."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface


class SameVersion(MetadataHookInterface):
    """A hook that pins other distributions of this repository to the version of the one that is built."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add the distributions listed under `same-version` to the dependencies."""
        pinned = [f"{name}=={metadata['version']}" for name in self.config["same-version"]]
        metadata["dependencies"] = [*pinned, *self.config["dependencies"]]


class FilesOfTheRepository(BuildHookInterface[Any]):
    """A hook that adds files from outside the project's folder to its wheel.

    Hatchling's own `force-include` would also copy them into editable installations, which read the repository.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Include the files listed under `files`, by their path from the project, unless the wheel is editable."""
        if version == "standard":
            build_data["force_include"].update(self.config["files"])
