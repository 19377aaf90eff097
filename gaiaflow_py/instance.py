"""What is kept about the instances of the stack on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gaiaflow_py.errors import GaiaflowError, InputError
from gaiaflow_py.paths import instances_dir


@dataclass(frozen=True)
class Instance:
    """One instance of the stack.

    Attributes:
        name: Its name.
        directory: Everything that is kept about it.
        ports: The services' ports.
        project: The project that it is wired to.
        runtime: Where its services run.
        engine: The socket of the Docker engine that has its containers, if it has any.
        urls: Where its services answer.
    """

    name: str
    directory: Path
    ports: Mapping[str, int]
    project: str | None
    runtime: str
    engine: str
    urls: Mapping[str, str]

    def credentials(self) -> dict[str, Any]:
        """Return user names, passwords and tokens for each service, without the services' internal ones.

        Raises:
            GaiaflowError: The file can't be read.
        """
        from ansible_collections.gaiaflow.setup.plugins.module_utils.credentials import present_credentials

        file = self.directory / "credentials.json"
        kept = present_credentials(file)
        if not kept:
            raise GaiaflowError(f"No credentials can be read from {file}.", "gaiaflow-setup mlops --start makes them.")
        return {service: values for service, values in kept.items() if service != "internal"}

    def logs(self, service: str) -> dict[str, Path]:
        """Return the log files of a service's programs.

        Args:
            service: A service (`airflow`) or one of its programs (`airflow-scheduler`).

        Raises:
            InputError: There is no such log.
        """
        files = {path.stem: path for path in sorted((self.directory / "logs").glob("*.log"))}
        found = {name: path for name, path in files.items() if name == service or name.startswith(f"{service}-")}
        if not found:
            known = sorted(files.keys() | {name.partition("-")[0] for name in files})
            raise InputError(
                f"No log of '{service}' on instance '{self.name}'.", f"There are: {', '.join(known) or 'none yet'}."
            )
        return found

    def states(self) -> list[dict[str, Any]]:
        """Return the services' states: name, state, health, url, uptime_s (seconds) and memory_bytes.

        They are asked without Ansible, by the code that `playbooks/status.yml` asks any host with.

        Raises:
            GaiaflowError: They can't be found out.
        """
        from ansible_collections.gaiaflow.setup.plugins.module_utils import record
        from ansible_collections.gaiaflow.setup.plugins.module_utils.runtime import implementation

        runtime = implementation(self.runtime)
        try:
            if not record.definition_of(self.directory, {"runtime": self.runtime}):
                return []
            found: list[dict[str, Any]] = runtime(self.directory).status()
        except record.LostFileError as error:
            raise GaiaflowError(str(error), error.hint) from error
        except (OSError, ValueError) as error:
            message, hint = runtime.explain(error)
            raise GaiaflowError(message, hint or "Look with gaiaflow-setup doctor.") from error
        return found

    def url(self, service: str) -> str:
        """Return where a service answers.

        Args:
            service: The service's name.

        Raises:
            InputError: The instance has no such service.
        """
        if service not in self.urls:
            raise InputError(
                f"Instance '{self.name}' has no service '{service}'.", f"It has: {', '.join(self.urls) or 'none'}."
            )
        return self.urls[service]


def find(name: str) -> Instance | None:
    """Return an instance by its name, or None if there is none.

    Args:
        name: The name.

    Raises:
        GaiaflowError: What is kept about it can't be read.
    """
    return load(name) if name in names() else None


def load(name: str) -> Instance:
    """Return an instance by its name.

    Args:
        name: The name.

    Raises:
        InputError: There is none of that name.
        GaiaflowError: What is kept about it can't be read.
    """
    from ansible_collections.gaiaflow.setup.plugins.module_utils import record

    if name not in names():
        known = ", ".join(names())
        hint = f"There are: {known}." if known else "There are none yet: gaiaflow-setup mlops --start makes one."
        raise InputError(f"There is no instance '{name}' on this machine.", hint)
    directory = instances_dir() / name
    try:
        kept = record.own_record(directory)
    except record.LostFileError as error:
        raise GaiaflowError(str(error), error.hint) from error
    return Instance(
        name=name,
        directory=directory,
        ports=kept.get("ports") or {},
        project=kept.get("project"),
        runtime=kept.get("runtime", "native"),
        engine=kept.get("engine", ""),
        urls=kept.get("urls") or {},
    )


def names() -> list[str]:
    """Return the names of all instances on this machine."""
    records = ("*/instance.json", "*/config/copies/instance.json")
    found = {file.relative_to(instances_dir()).parts[0] for one in records for file in instances_dir().glob(one)}
    return sorted(found)
