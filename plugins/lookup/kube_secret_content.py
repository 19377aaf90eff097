"""Lookup plugin: reads what secrets are to hold, and checks it, where Ansible runs."""

from __future__ import annotations

DOCUMENTATION = r"""
name: kube_secret_content
short_description: Read and check what secrets for Kubernetes are to hold
author: The developers of gaiaflow-setup (!UNKNOWN)
description:
  - Returns one mapping for each secret, with C(name), C(data) (base64 by key), C(refused), C(hint) and C(warnings).
  - What is wrong stands in C(refused), so that the task which takes it fails with nothing but that.
  - A file that Ansible Vault has encrypted is decrypted with the vault settings of the run.
options:
  _terms:
    description: The secret's name; none with C(project).
  data:
    description: Values by key.
    type: dict
    default: {}
  env_files:
    description: Files in the syntax of C(.env).
    type: list
    elements: str
    default: []
  files:
    description: Files by the key that holds their content.
    type: dict
    default: {}
  project:
    description: A project's directory, whose pyproject.toml declares secrets in C([tool.gaiaflow.secrets]).
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Make a secret from a file of variables
  gaiaflow.setup.kube_secret:
    secrets: "{{ query('gaiaflow.setup.kube_secret_content', 'my-creds', env_files=['/home/me/project/.env']) }}"
    namespace: gaiaflow
    kubeconfig: ~/.kube/config

- name: Make the secrets that a project declares
  gaiaflow.setup.kube_secret:
    secrets: "{{ query('gaiaflow.setup.kube_secret_content', project='/home/me/project') }}"
    namespace: gaiaflow
    kubeconfig: ~/.kube/config
"""

RETURN = r"""
_list:
  description:
    - A mapping for each secret, with C(name), C(data) and C(warnings).
    - Where something is wrong, a single one with C(name), C(refused) and C(hint), and without data.
  type: list
  elements: dict
  sample: [{name: my-creds, data: {API_KEY: Yg==}, warnings: []}]
"""

import base64
import binascii
import io
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase

from ansible_collections.gaiaflow.setup.plugins.module_utils.errors import SetupError

NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
NAME_LENGTH = 253
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
FILE_KEY = re.compile(r"[-._a-zA-Z0-9]+")
TOTAL_BYTES = 1024 * 1024
READ_BYTES = 8 * TOTAL_BYTES
"""What a file may have at most: comments, and what Ansible Vault adds, are no part of the secret."""

OWN_NAMES = ("gaiaflow-stack", "gaiaflow-s3", "gaiaflow-airflow-token")
"""What the connection with a cluster makes itself."""

EXPANDED = re.compile(r"\$\{[^}]*\}")
ENCODED_LENGTH = 16
FORM = '[tool.gaiaflow.secrets] with my-creds = ".env"'

Read = Callable[[Path], bytes]


class RefusedError(SetupError):
    """What a user gave can't be kept in a secret; the message never holds a value."""


@dataclass
class Content:
    """What one secret is to hold.

    Attributes:
        values: The values by key.
        places: Where each key was given.
        warnings: What its user should know of it.
    """

    values: dict[str, bytes] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def add(self, key: str, value: bytes, place: str) -> None:
        """Take a key with its value.

        Args:
            key: The key.
            value: The value.
            place: Where it was given.

        Raises:
            RefusedError: The key was given before.
        """
        if key in self.values:
            before = self.places[key]
            raise RefusedError(f"{key} is given twice: {before} and {place}.", "Take one of the two out.")
        self.values[key], self.places[key] = value, place
        if looks_encoded(value):
            self.warnings.append(f"{key} ({place}) looks as if it were in base64 already: tasks get it as it is.")


def looks_encoded(value: bytes) -> bool:
    """Return whether a value is the base64 of some text.

    Args:
        value: The value.
    """
    stripped = value.strip()
    if len(stripped) < ENCODED_LENGTH or len(stripped) % 4:
        return False
    try:
        decoded = base64.b64decode(stripped, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return False
    return decoded.replace("\n", "").replace("\t", "").isprintable()


# ---- .env files


def parse_env(content: bytes, name: str) -> Iterator[tuple[str, str, int]]:
    """Yield what a .env file holds: key, value and line.

    Args:
        content: The file's content.
        name: What the file is called in messages.

    Raises:
        RefusedError: Something in it isn't understood, or a key is there twice.
    """
    from dotenv.parser import parse_stream

    lines: dict[str, int] = {}
    for one in parse_stream(io.StringIO(decode(content, name), newline=None)):
        # What is between two entries belongs to the second one.
        blank = len(one.original.string) - len(one.original.string.lstrip())
        line = one.original.line + one.original.string.count("\n", 0, blank)
        place = f"{name}, line {line}"
        if one.error:
            raise RefusedError(f"{place} is not understood.", "Right are NAME=value, NAME='value' and NAME=\"value\".")
        if one.key is None:
            continue
        check_variable(one.key, place)
        if one.value is None:
            raise RefusedError(f"{place}: {one.key} has no value.", f"Write {one.key}= for an empty one.")
        if one.key in lines:
            raise RefusedError(
                f"{name} has {one.key} twice, in lines {lines[one.key]} and {line}.", "Take one of them out."
            )
        refuse_expansion(one.key, one.value, one.original.string, place)
        lines[one.key] = line
        yield one.key, one.value, line


def refuse_expansion(key: str, value: str, written: str, place: str) -> None:
    """Refuse what a shell would put another value in for.

    Args:
        key: The key.
        value: Its value.
        written: The entry as it was written.
        place: Where it is.

    Raises:
        RefusedError: There is `${NAME}`, and not between single quotes.
    """
    if EXPANDED.search(value) and not written.partition("=")[2].lstrip().startswith("'"):
        raise RefusedError(
            f"{place}: {key} has ${{...}}, which a shell puts another value in for, and this does not.",
            f"Write {key}='...' to keep it as it is, or the other value itself.",
        )


def decode(content: bytes, name: str) -> str:
    """Return a file's text.

    Args:
        content: The file's content.
        name: What the file is called in messages.

    Raises:
        RefusedError: It isn't UTF-8.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise RefusedError(f"{name}, line {line} isn't UTF-8.", "Save the file as UTF-8.") from None


# ---- Rules of Kubernetes


def check_name(name: str) -> None:
    """Refuse what Kubernetes takes for no secret's name.

    Args:
        name: The name.

    Raises:
        RefusedError: It is none, or one that this product uses itself.
    """
    if not NAME.fullmatch(name) or len(name) > NAME_LENGTH:
        raise RefusedError(
            f"'{name}' is not a secret's name for Kubernetes.",
            "Use lower-case letters, digits, hyphens and dots, with a letter or digit at both ends of each part.",
        )
    if name in OWN_NAMES:
        raise RefusedError(f"'{name}' is the name of a secret that `cluster --start` makes.", "Choose another name.")


def check_variable(key: str, place: str) -> None:
    """Refuse a key that can't be an environment variable.

    Args:
        key: The key.
        place: Where it was given.

    Raises:
        RefusedError: It can't.
    """
    if not VARIABLE.fullmatch(key):
        raise RefusedError(
            f"{place}: '{key}' is not a name for an environment variable.",
            "Use letters, digits and underscores, and no digit at the beginning.",
        )


def check_text(key: str, value: str, place: str) -> bytes:
    """Return a value in UTF-8, if an environment can hold it.

    Args:
        key: Its key.
        value: The value.
        place: Where it was given.

    Raises:
        RefusedError: It can't.
    """
    if "\0" in value:
        raise RefusedError(f"{place}: the value of {key} has a NUL byte, which no environment variable can hold.")
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise RefusedError(f"{place}: the value of {key} isn't UTF-8.") from None


# ---- What is given


def gather(
    name: str, data: Mapping[str, Any], env_files: Sequence[str], files: Mapping[str, str], read: Read
) -> Content:
    """Return what a secret is to hold.

    Args:
        name: The secret's name.
        data: Values by key.
        env_files: Files in the syntax of `.env`.
        files: Files by the key that holds their content.
        read: Reads a file.

    Raises:
        RefusedError: Something can't be kept in a secret.
    """
    check_name(name)
    content = Content()
    for key, value in data.items():
        check_variable(str(key), "what was given")
        if not isinstance(value, str):
            raise RefusedError(f"The value of {key} is a {type(value).__name__}, not text.", "Put it into quotes.")
        content.add(str(key), check_text(key, value, "what was given"), "given by itself")
    for file in env_files:
        for key, value, line in parse_env(read_file(file, read), str(file)):
            content.add(key, check_text(key, value, f"{file}, line {line}"), f"{file}, line {line}")
    for key, file in files.items():
        add_file(content, key, str(file), read_file(file, read))
    if not content.values:
        raise RefusedError(
            f"Secret '{name}' would be empty.", "Give it a value: --from-env-file, --from-literal, --from-file."
        )
    size = sum(map(len, content.values.values()))
    if size > TOTAL_BYTES:
        raise RefusedError(f"Secret '{name}' would hold {size} bytes; Kubernetes takes {TOTAL_BYTES} at most.")
    return content


def add_file(content: Content, key: str, file: str, value: bytes) -> None:
    """Take a file under a key, which need not be a variable's name.

    Args:
        content: What the secret is to hold.
        key: The key.
        file: The file.
        value: Its content.

    Raises:
        RefusedError: Kubernetes takes no such key.
    """
    if not FILE_KEY.fullmatch(key) or key == "." or key.startswith("..") or len(key) > NAME_LENGTH:
        raise RefusedError(
            f"'{key}' is not a key for Kubernetes.", "Use letters, digits, '-', '_' and '.': KEY=FILE names one."
        )
    content.add(key, value, file)
    if not VARIABLE.fullmatch(key):
        content.warnings.append(f"{key} is no variable's name: tasks that get the secret as environment don't see it.")
    elif b"\0" in value or not is_text(value):
        content.warnings.append(f"{key} ({file}) isn't text: it can't be an environment variable of a task.")


def is_text(value: bytes) -> bool:
    """Return whether a value is UTF-8.

    Args:
        value: The value.
    """
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def read_file(file: str, read: Read) -> bytes:
    """Return a file's content.

    Args:
        file: The file.
        read: Reads a file.

    Raises:
        RefusedError: It can't be read.
    """
    path = Path(file).expanduser()
    try:
        if not path.is_file():
            raise RefusedError(
                f"The file {path} is a directory or another thing that is no file."
                if path.exists()
                else f"There is no file {path}."
            )
        if path.stat().st_size > READ_BYTES:
            raise RefusedError(f"{path} is too big for a secret, which holds {TOTAL_BYTES} bytes at most.")
        return read(path)
    except OSError as error:
        raise RefusedError(f"Can't read {path}: {error.strerror}.") from None


def declared(project: str) -> dict[str, str]:
    """Return the secrets that a project declares: .env files by name.

    Args:
        project: The project's directory.

    Raises:
        RefusedError: It declares none, or wrongly.
    """
    if not project:
        raise RefusedError("There is no project whose secrets could be made.", "Name it with --project DIR.")
    path = Path(project).expanduser() / "pyproject.toml"
    text = decode(read_file(str(path), Path.read_bytes), str(path))
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RefusedError(f"{path} is not valid TOML: {error}.") from None
    found: Any = tables
    for key in ("tool", "gaiaflow", "secrets"):
        found = found.get(key, {}) if isinstance(found, dict) else None
    if not isinstance(found, dict) or not all(isinstance(file, str) for file in found.values()):
        raise RefusedError(f"{path}: secrets are names with a .env file each.", f"Right is {FORM}.")
    if not found:
        raise RefusedError(f"{path} declares no secrets.", f"Right is {FORM}.")
    return {name: str(path.parent / Path(file).expanduser()) for name, file in found.items()}


def result(name: str, content: Content) -> dict[str, Any]:
    """Return what the task gets.

    Args:
        name: The secret's name.
        content: What it is to hold.
    """
    data = {key: base64.b64encode(value).decode() for key, value in content.values.items()}
    return {"name": name, "data": data, "warnings": content.warnings}


def results(terms: Sequence[str], given: Mapping[str, Any], read: Read) -> list[dict[str, Any]]:
    """Return what the task gets for each secret, or for the first that is refused.

    Args:
        terms: The secret's name; none with a project.
        given: The options.
        read: Reads a file.
    """
    name = str(terms[0]) if terms else ""
    try:
        if not terms:
            wanted = [(name, gather(name, {}, [file], {}, read)) for name, file in declared(given["project"]).items()]
        else:
            wanted = [(name, gather(name, given["data"], given["env_files"], given["files"], read))]
    except RefusedError as refused:
        return [{"name": name, "data": {}, "refused": str(refused), "hint": refused.hint}]
    return [result(*one) for one in wanted]


class LookupModule(LookupBase):  # type: ignore[misc]
    """The lookup."""

    def run(self, terms: Sequence[str], variables: Any = None, **kwargs: Any) -> list[dict[str, Any]]:
        """Return what secrets are to hold.

        Args:
            terms: The secret's name; none with C(project).
            variables: Ansible's.
            kwargs: The options.
        """
        self.set_options(var_options=variables, direct=kwargs)
        return results(terms, self.get_options(), self._read)

    def _read(self, path: Path) -> bytes:
        """Read a file, decrypted if Ansible Vault has encrypted it."""
        with path.open("rb") as file:
            if not file.read(15).startswith(b"$ANSIBLE_VAULT;"):
                file.seek(0)
                return file.read()
        try:
            real = self._loader.get_real_file(str(path), decrypt=True)
        except AnsibleError as error:
            raise RefusedError(
                f"{path} is encrypted by Ansible Vault, and can't be decrypted: {' '.join(error.message.split())}",
                "ANSIBLE_VAULT_PASSWORD_FILE names the file with its password.",
            ) from None
        try:
            return Path(real).read_bytes()
        finally:
            self._loader.cleanup_tmp_file(real)
