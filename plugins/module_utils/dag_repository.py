"""The central DAG repository: a folder a project, a record of what each holds, and a log of who released what."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from .errors import SetupError

FORMAT = 1
MARK = "cdr.yaml"
REQUIREMENTS = "requirements.txt"
OWNERS = "CODEOWNERS"
DAGS = "dags"
RECORD = "release.yaml"
IMAGE, SETTINGS = "image.txt", "prod.yaml"
# Names that a folder can't have: find_image of a project looks for its code there.
TAKEN = ("src",)
LEFT_OUT = ("__pycache__", ".ipynb_checkpoints", ".DS_Store")
SAFE_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class CdrError(SetupError):
    """What is wanted of the central DAG repository can't be done."""


@dataclass(frozen=True)
class Record:
    """What a project's folder holds, as its `release.yaml` says.

    Attributes:
        project: The project's name, and the folder's.
        package: Its package.
        version: The version that is there.
        image: The image by its digest.
        source: Where its code is kept.
        commit: The commit that was released.
        files: A digest of the folder's files.
        parsed_with: A digest of the requirements that the DAGs were parsed with; empty before that.
        dags: The DAGs' ids.
    """

    project: str
    package: str
    version: str
    image: str
    source: str = ""
    commit: str = ""
    files: str = ""
    parsed_with: str = ""
    dags: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with a project in the repository.

    Attributes:
        project: The project.
        message: What is wrong.
        hint: What to do next.
    """

    project: str
    message: str
    hint: str


class FindingsError(CdrError):
    """Something is wrong with a project in the repository.

    Args:
        findings: What is wrong; one at least.

    Attributes:
        details: What else is wrong.
    """

    def __init__(self, findings: Sequence[Finding]) -> None:
        first, *others = findings
        super().__init__(f"{first.message} And {len(others)} more:" if others else first.message, first.hint)
        self.details = [one.message for one in others]


class Cdr:
    """A checkout of the central DAG repository.

    Args:
        root: The checkout.

    Raises:
        CdrError: It is none, or of a format that this version doesn't know.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.dags = root, root / DAGS
        marked = read_yaml(root / MARK)
        if not isinstance(marked, dict) or "format" not in marked:
            raise CdrError(
                f"{root} is no central DAG repository: it has no {MARK}.", "Make one: gaiaflow-setup cdr init."
            )
        if marked["format"] != FORMAT:
            raise CdrError(
                f"The central DAG repository has format {marked['format']}, and this version knows {FORMAT}.",
                "Use the version of gaiaflow-setup that made it, or a later one.",
            )

    def folders(self) -> list[str]:
        """Return the names of the projects' folders."""
        return sorted(entry.name for entry in os.scandir(self.dags) if entry.is_dir()) if self.dags.is_dir() else []

    def record(self, project: str) -> Record | None:
        """Return what a project's record says, or None where there is none.

        Args:
            project: The project.

        Raises:
            CdrError: The record can't be read.
        """
        path = self.dags / project / RECORD
        content = read_yaml(path)
        if content is None:
            return None
        try:
            return Record(**content)
        except TypeError as error:
            raise CdrError(f"{path} is no record of a release: {error}.", "Take it from an earlier commit.") from error

    def known_record(self, project: str) -> Record:
        """Return what the record of a project that is there says.

        Args:
            project: The project.

        Raises:
            CdrError: There is no record, or it can't be read.
        """
        record = self.record(project)
        if record is None:
            raise CdrError(f"{self.dags / project} has no {RECORD}.", f"Release {project} again.")
        return record

    def log(self, project: str) -> list[dict[str, Any]]:
        """Return who released, rolled back and removed a project, the first one first.

        Args:
            project: The project.
        """
        return list(read_yaml(self.root / "releases" / f"{project}.yaml") or [])

    def requirements(self) -> str:
        """Return the digest of what DAGs are parsed with."""
        path = self.root / REQUIREMENTS
        return sha256(path.read_bytes()) if path.is_file() else ""

    def write_record(self, record: Record) -> None:
        """Write a project's record.

        Args:
            record: The record.
        """
        text = "# Written by gaiaflow-setup: what is in this folder, and where it comes from.\n"
        text += yaml.safe_dump(asdict(record), sort_keys=False)
        (self.dags / record.project / RECORD).write_text(text, encoding="utf-8")

    def note(self, action: str, record: Record, by: str) -> None:
        """Add a line to a project's log.

        Args:
            action: What was done.
            record: What is there now, or was there.
            by: Who did it.
        """
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        line = {"at": now, "by": by, "action": action, "version": record.version, "image": record.image}
        line |= {"files": record.files}
        path = self.root / "releases" / f"{record.project}.yaml"
        path.parent.mkdir(exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(f"- {json.dumps(line)}\n")

    def owner_lines(self) -> dict[str, str]:
        """Return the lines in `CODEOWNERS` that are about a project's folder, by the project."""
        path = self.root / OWNERS
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        start, found = f"/{DAGS}/", {}
        for line in lines:
            place, _, owners = line.partition(" ")
            if place.startswith(start) and place.endswith("/") and owners.strip():
                found[place[len(start) : -1]] = line
        return found

    def set_owners(self, project: str, owners: list[str]) -> bool:
        """Write a project's line into `CODEOWNERS`, or take it out; return whether that changed anything.

        Args:
            project: The project.
            owners: Its owners; none takes the line out.
        """
        path = self.root / OWNERS
        before = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        old, place = self.owner_lines().get(project), f"/{DAGS}/{project}/"
        new = [f"{place} {' '.join(owners)}"] if owners else []
        after = [line for line in before if line != old] if not new else before
        if new and old:
            after = [new[0] if line == old else line for line in before]
        elif new:
            after = [*before, *new]
        if after != before:
            path.write_text("".join(f"{line}\n" for line in after), encoding="utf-8")
        return after != before


# ---- Files


def read_yaml(path: Path) -> Any:
    """Return what a YAML file holds, or None where there is none.

    Args:
        path: The file.

    Raises:
        CdrError: It can't be read.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=SAFE_LOADER)  # a safe loader, in C where there is one
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise CdrError(f"{path} can't be read: {error}.", "Take it from an earlier commit.") from error


def sha256(content: bytes) -> str:
    """Return a digest as it is written down."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def files_of(folder: Path) -> Iterator[Path]:
    """Yield a folder's files in order, without what is only made of them, and without its record."""
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.is_file() and not set(LEFT_OUT) & set(relative.parts) and str(relative) != RECORD:
            yield path


def digest_of(folder: Path) -> str:
    """Return a digest of all files in a folder, but for its record.

    Args:
        folder: The folder.
    """
    digest = hashlib.sha256()
    for path in files_of(folder):
        digest.update(f"{path.relative_to(folder)}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\0".encode())
    return f"sha256:{digest.hexdigest()}"


# ---- What is done to it


def place(cdr: Cdr, release: Mapping[str, Any], image: str) -> tuple[bool, Record]:
    """Put a project's DAGs into its folder; return whether that changed anything, and the record.

    Args:
        cdr: The repository.
        release: What is released, as `gaiaflow.setup.release_info` tells it.
        image: The image by its digest.

    Raises:
        CdrError: The folder is another project's, the version exists with another content, or nobody owns it.
    """
    project = release["project"]
    if project in TAKEN:
        raise CdrError(f"A project can't be called '{project}' here.", "Rename it in pyproject.toml.")
    before = cdr.record(project)
    refuse_other_source(before, release)
    if not release["release"]["owners"]:
        raise CdrError(
            f"prod.yaml names no owner of {project}'s folder.", "Add to it: release: {owners: ['@org/team']}."
        )
    folder = cdr.dags / project
    fill(folder, release, image)
    named = {name: release[name] for name in ("project", "package", "version", "source", "commit")}
    record = Record(**named, image=image, files=digest_of(folder))
    refuse_other_content(cdr, record)
    kept = {name: getattr(before, name) for name in ("parsed_with", "dags", "commit", "source")} if before else {}
    if before and replace(record, **kept) == before:
        record = before
    cdr.write_record(record)
    changed = cdr.set_owners(project, release["release"]["owners"]) or record is not before
    if changed:
        cdr.note("release", record, release["by"])
    return changed, record


def refuse_other_source(before: Record | None, release: Mapping[str, Any]) -> None:
    """Refuse a project whose folder belongs to another one of the same name.

    Args:
        before: The record that is there.
        release: What is released.

    Raises:
        CdrError: It is another one's.
    """
    if not before:
        return
    moved = before.source and release["source"] and place_of(before.source) != place_of(release["source"])
    if moved or before.package != release["package"]:
        raise CdrError(
            f"The folder '{before.project}' belongs to the project at {before.source or before.package}.",
            f"Rename this project; if it has moved, write its new source into {DAGS}/{before.project}/{RECORD}, in a "
            "commit of its own.",
        )


def place_of(source: str) -> str:
    """Return a repository's host and path, by whatever protocol its address is.

    Args:
        source: Its address, as git takes it.
    """
    return re.sub(r"^(?:\w+://)?(?:[^@/]*@)?([^/:]+)(?::\d+(?=/))?[:/]+", r"\1/", source).lower()


def refuse_other_content(cdr: Cdr, record: Record) -> None:
    """Refuse a version that was released before with another content.

    Args:
        cdr: The repository.
        record: What is released.

    Raises:
        CdrError: It was.
    """
    for line in cdr.log(record.project):
        # Before its image is there, a version is only looked at: by its files.
        is_other = line.get("files") != record.files or ("@" in record.image and line.get("image") != record.image)
        if line.get("version") == record.version and is_other and line.get("action") != "remove":
            raise CdrError(
                f"{record.project} {record.version} is in the CDR with another content.",
                "Raise __version__: a version never changes.",
            )


def fill(folder: Path, release: Mapping[str, Any], image: str) -> None:
    """Make a project's folder anew: its DAGs, the image's name, and the stage's settings.

    Args:
        folder: The folder.
        release: What is released.
        image: The image by its digest.

    Raises:
        CdrError: A file of the project can't be taken.
    """
    source, tracked = Path(release["dags"]), release["tracked"]
    if any(path.is_symlink() for path in source.rglob("*")):
        raise CdrError(f"{source} holds symbolic links, which would lead nowhere.", "Put files in their places.")
    shutil.rmtree(folder, ignore_errors=True)
    for path in files_of(source):
        relative = path.relative_to(source)
        if tracked is not None and f"{DAGS}/{relative}" not in tracked:
            continue  # git ignores it: it may be somebody's secret
        target = folder / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    package = folder / f"{release['package']}_dags"
    (package / IMAGE).write_text(f"{image}\n", encoding="utf-8")
    stage = f", stage {release['stage']}" if release["stage"] else ""
    head = f"# Written by gaiaflow-setup from the project's prod.yaml{stage}.\n"
    settings = yaml.safe_dump(release["pods"], sort_keys=False) if release["pods"] else ""
    (package / SETTINGS).write_text(head + settings, encoding="utf-8")


def restore(cdr: Cdr, project: str, version: str, by: str, git: Callable[..., str]) -> tuple[bool, Record]:
    """Put a project's folder back as a version had it; return whether that changed anything, and the record.

    Args:
        cdr: The repository, with its history.
        project: The project.
        version: The version.
        by: Who does it.
        git: Calls git there and returns what it prints.

    Raises:
        CdrError: It was never released.
    """
    now = cdr.record(project)
    if now and now.version == version:
        return False, now
    commit = find_commit(project, version, git)
    if not commit:
        known = ", ".join(dict.fromkeys(str(line["version"]) for line in cdr.log(project)))
        raise CdrError(
            f"{project} {version} was never released here.",
            f"Released were: {known}." if known else "Release it first.",
        )
    shutil.rmtree(cdr.dags / project, ignore_errors=True)
    git("checkout", "--quiet", commit, "--", f"{DAGS}/{project}")
    record = cdr.known_record(project)
    cdr.note("rollback", record, by)
    return True, record


def find_commit(project: str, version: str, git: Callable[..., str]) -> str:
    """Return the last commit that had a version of a project, or nothing.

    Args:
        project: The project.
        version: The version.
        git: Calls git and returns what it prints.
    """
    path = f"{DAGS}/{project}/{RECORD}"
    for commit in git("log", "--format=%H", "--diff-filter=AM", "--", path).split():
        content = yaml.safe_load(git("show", f"{commit}:{path}"))
        if str(content.get("version")) == version:
            return commit
    return ""


def remove(cdr: Cdr, project: str, by: str) -> bool:
    """Remove a project; return whether it was there.

    Args:
        cdr: The repository.
        project: The project.
        by: Who does it.
    """
    record = cdr.record(project)
    if project not in cdr.folders():
        return cdr.set_owners(project, [])
    shutil.rmtree(cdr.dags / project)
    cdr.set_owners(project, [])
    cdr.note("remove", record or Record(project, "", "", ""), by)
    return True


def note_dags(cdr: Cdr, project: str, parsed: Mapping[str, Any]) -> Record:
    """Write what the parsing of a project's DAGs gave into its record.

    Args:
        cdr: The repository.
        project: The project.
        parsed: What `parse_dags.py` tells of it.

    Raises:
        CdrError: A file can't be imported, or there is no DAG.
    """
    record = cdr.known_record(project)
    for problem in problems_of_parsing(project, parsed):
        raise CdrError(problem.message, problem.hint)
    record = replace(record, parsed_with=cdr.requirements(), dags=sorted(parsed["dags"]))
    cdr.write_record(record)
    return record


# ---- What is found in it


def to_parse(cdr: Cdr, changed: list[str], *, everything: bool) -> list[str]:
    """Return the projects whose records don't vouch for their DAGs.

    Args:
        cdr: The repository.
        changed: Paths that changed, whatever the records say.
        everything: Every project.
    """
    requirements = cdr.requirements()
    touched = {parts[1] for path in changed if len(parts := Path(path).parts) > 2 and parts[0] == DAGS}
    if REQUIREMENTS in changed:
        everything = True
    wanted = []
    for project in cdr.folders():
        record = cdr.record(project)
        vouches = record and record.parsed_with == requirements and record.files == digest_of(cdr.dags / project)
        if everything or project in touched or not vouches:
            wanted.append(project)
    return wanted


def examine(cdr: Cdr, parsed: Mapping[str, Any]) -> list[Finding]:
    """Return what is wrong in the repository.

    Args:
        cdr: The repository.
        parsed: What `parse_dags.py` tells of the projects that were parsed.
    """
    records = {project: cdr.record(project) for project in cdr.folders()}
    dags = {
        project: sorted(parsed[project]["dags"]) if project in parsed else record.dags if record else []
        for project, record in records.items()
    }
    findings = [one for project, record in records.items() for one in problems_of_folder(cdr, project, record)]
    findings += [one for project, told in parsed.items() for one in problems_of_parsing(project, told)]
    for project, record in records.items():
        if record and project in parsed and not parsed[project]["errors"] and dags[project] != record.dags:
            findings.append(
                Finding(project, f"The record of '{project}' names other DAGs than Airflow finds.", "Release it again.")
            )
    findings += collisions("DAG id", dags, "Give the DAG another id.")
    modules = {project: modules_of(cdr.dags / project) for project in records}
    findings += collisions("package", modules, "Rename it: Airflow imports both from one process.")
    findings += collisions("folder", {project: [project.lower()] for project in records}, "Rename the project.")
    return findings


def problems_of_folder(cdr: Cdr, project: str, record: Record | None) -> Iterator[Finding]:
    """Yield what is wrong with a project's folder, its record and its owners."""
    if not record:
        yield Finding(
            project, f"The folder '{project}' has no record of a release.", "Release it; don't copy it there."
        )
        return
    if record.project != project:
        yield Finding(project, f"The record in the folder '{project}' is of '{record.project}'.", "Release it again.")
    if record.files != digest_of(cdr.dags / project):
        yield Finding(
            project,
            f"The files of '{project}' aren't what was released as {record.version}.",
            "Release them: a version never changes.",
        )
    if project not in cdr.owner_lines():
        yield Finding(project, f"{OWNERS} has no line for '{project}'.", f"Add it: /{DAGS}/{project}/ @org/team")


def problems_of_parsing(project: str, parsed: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield why a project's DAGs can't be used."""
    for path, reason in parsed["errors"].items():
        last = reason.splitlines()[-1] if reason else "no reason is known"
        place = f"{DAGS}/{project}/{path}" if path else f"{project}'s DAGs"
        yield Finding(project, f"Airflow can't import {place}: {last}", f"Correct it.\n{reason}")
    if not parsed["dags"] and not parsed["errors"]:
        yield Finding(project, f"{project} has no DAG.", "Put one into its folder dags.")


def modules_of(folder: Path) -> list[str]:
    """Return the modules and packages that a project's folder puts on Python's path."""
    found = []
    for entry in os.scandir(folder):
        if entry.is_file() and entry.name.endswith(".py"):
            found.append(entry.name.removesuffix(".py"))
        elif entry.is_dir() and any(Path(entry.path).rglob("*.py")):
            found.append(entry.name)
    return sorted(found)


def collisions(what: str, names: Mapping[str, list[str]], hint: str) -> Iterator[Finding]:
    """Yield a finding for each of the projects that have the same name for something.

    Args:
        what: What it is a name of.
        names: The names by the project.
        hint: What to do about it.
    """
    having: dict[str, list[str]] = defaultdict(list)
    for project, several in names.items():
        for name in several:
            having[name].append(project)
    for name, projects in having.items():
        for project in projects if len(projects) > 1 else ():
            others = " and ".join(f"'{one}'" for one in projects if one != project)
            yield Finding(project, f"The {what} '{name}' belongs to the project {others}.", hint)


def git_in(root: Path) -> Callable[..., str]:
    """Return what calls git in a checkout, and returns what it prints.

    Args:
        root: The checkout.
    """

    def git(*words: str) -> str:
        environment = {**os.environ, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"}
        command = ["git", "-C", str(root), *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise CdrError(f"git {words[0]} failed in {root}: {done.stderr.strip()}", "Do what it says.")
        return done.stdout

    return git
