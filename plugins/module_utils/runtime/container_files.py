"""What containers find on the host: their definitions, credentials and the user's environment; and its owner."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..catalogue import fill_in
from ..common import read_json, write_private
from ..container import ENVIRONMENT, PRIVATE, Container, Place
from ..record import DEFINITIONS
from .base import Program, Settings


class ContainerFiles:
    """The files of one instance that its containers read, each program's own in a directory that no other one sees.

    Args:
        place: Where the containers are.
        definition: The services.
        settings: How programs are started and stopped.
    """

    def __init__(self, place: Place, definition: Mapping[str, Any], settings: Settings) -> None:
        self.place = place
        self.definition = definition
        self.settings = settings
        self.told: dict[str, list[str]] = {}

    def outdated(self, programs: list[Program]) -> list[str]:
        """Return the programs whose containers would find another definition than the one that is written."""
        return [one.name for one in programs if any(differs(*file) for file in self._definitions(one))]

    def write_definitions(self, programs: list[Program]) -> None:
        """Write what differs of the programs' definitions."""
        self._write(self.place.passwd, passwd(self.place.user), mode=0o644)
        for one in programs:
            for path, text in self._definitions(one):
                self._write(path, text)
        path = self.place.directory / "config" / DEFINITIONS["docker"]
        text = json.dumps({key: value for key, value in self.definition.items() if key != "images"}, indent=2) + "\n"
        if differs(path, text):
            write_private(path, text)

    def write_environments(self, programs: list[Program]) -> None:
        """Write what programs that are about to start see of the user's environment; other images see nothing of it."""
        from ..shell import seen_in_container, user_environment

        rules, basics = self.settings.shell_rules, self.settings.shell_basics
        seen, files = seen_in_container(user_environment(), rules, basics, PRIVATE)
        for one in programs:
            if "image" not in one.entry:
                private = self.place.private(one.name)
                self._write(private / "environment.json", json.dumps(seen.variables) + "\n")
                for name, source in files.items():
                    self._write(private / name, source.read_text(errors="replace"))
                self.told = seen.told

    def make_directories(self, container: Container) -> None:
        """Make the directories that the container is going to see."""
        directory = self.place.directory
        for source in container.sources:
            if directory / "data" in source.parents or source == directory / "workspace":
                source.mkdir(parents=True, exist_ok=True)
            elif source == directory / "config" / "cluster":
                source.mkdir(parents=True, exist_ok=True, mode=0o700)

    def hand_over(self, container: Container) -> None:
        """Let the container's user write to what it sees of root's; not before the previous runtime has ended."""
        user_id, group_id = map(int, self.place.user.split(":"))
        for source in container.sources if os.geteuid() == 0 else ():
            if self.place.directory in source.parents:
                give(source, user_id, group_id)
            elif str(source) == self.definition["working_directory"]:
                share_with_group(source)

    @functools.cached_property
    def _credentials(self) -> dict[str, Any]:
        return read_json(self.place.directory / "credentials.json")

    def _definitions(self, program: Program) -> list[tuple[Path, str]]:
        # In check mode, an instance that is to be made has none yet, and no container that reads them.
        if not self._credentials:
            return []
        found = files_of(program, str(self.definition["working_directory"]), self._credentials)
        return [(self.place.private(program.name) / name, text) for name, text in found.items()]

    def _write(self, path: Path, text: str, mode: int = 0o600) -> None:
        """Write a file of the containers' user, if it differs."""
        if not differs(path, text):
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.parent.chmod(0o755)
        # In place where there is one, as a container that runs sees a file and not its name.
        if path.exists() and path == self.place.passwd:
            path.write_text(text)
        else:
            write_private(path, text)
        path.chmod(mode)
        if os.geteuid() == 0:
            os.chown(path, *map(int, self.place.user.split(":")))


def differs(path: Path, text: str) -> bool:
    """Return whether a file holds something else, or isn't there."""
    return not path.exists() or path.read_text() != text


def passwd(user: str) -> str:
    """Return the file that gives the containers' user a name.

    Args:
        user: User and group id.
    """
    user_id, _, group_id = user.partition(":")
    return f"root:x:0:0::/:/sbin/nologin\ngaiaflow:x:{user_id}:{group_id}::/tmp:/bin/sh\n"


def files_of(program: Program, workspace: str, credentials: Mapping[str, Any]) -> dict[str, str]:
    """Return the files that only this program's container sees, by name.

    Args:
        program: The program.
        workspace: The project's directory.
        credentials: All credentials of the instance.
    """
    entry = program.entry
    if "image" in entry:
        return {Path(file["path"]).name: fill_in(file["text"], dict(credentials)) for file in entry.get("files", [])}
    definition = {
        "credentials": f"{PRIVATE}/credentials.json",
        "working_directory": workspace if entry.get("sees_project") else "/tmp",
        "environments": {entry["environment"]: ENVIRONMENT},
        "services": {program.name: entry},
    }
    return {
        "service.json": json.dumps(definition, indent=2) + "\n",
        "credentials.json": json.dumps(own_credentials(entry, credentials), indent=2) + "\n",
    }


def own_credentials(entry: Mapping[str, Any], credentials: Mapping[str, Any]) -> dict[str, Any]:
    """Return the credentials that a program's environment and files name, and no others."""
    text = json.dumps([entry["env"], entry.get("files")])
    return {
        group: kept
        for group, values in credentials.items()
        if (kept := {key: value for key, value in values.items() if f"@{{{group}.{key}}}" in text})
    }


def give(directory: Path, user_id: int, group_id: int) -> None:
    """Make the user the owner of a directory and of all in it."""
    for parent, directories, files in os.walk(directory, topdown=False):
        for path in (Path(parent), *(Path(parent) / name for name in (*directories, *files))):
            if path.lstat().st_uid != user_id:
                os.chown(path, user_id, group_id, follow_symlinks=False)


def share_with_group(project: Path) -> None:
    """Let root's group, in which the containers are and nobody else, write to root's project."""
    for parent, directories, files in os.walk(project):
        directories[:] = [name for name in directories if name not in {".git", ".venv"}]
        for path in (Path(parent), *(Path(parent) / name for name in files)):
            state = path.lstat()
            if state.st_uid == 0 and state.st_gid == 0 and not path.is_symlink():
                path.chmod(state.st_mode | 0o060 | (0o010 if path.is_dir() else 0))
