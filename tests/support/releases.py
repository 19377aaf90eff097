"""A project whose releases go to a real registry and a real git server, small enough that each takes seconds."""

from __future__ import annotations

import io
import json
import os
import secrets
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from cli_content import script_of
from git_over_http import GitServer, git
from project_fixture import ROOT, airflow_python, generate
from registries import ImageRegistry, remove_images

BASE = "gaiaflow-test/tiny:1"
CDR = "airflow-dags"
# A name of this run's own: other tests, and other runs, have images on the same engine.
MARK = secrets.token_hex(3)
NAME, PACKAGE = f"cellar-{MARK}", f"cellar_{MARK}"
AUTHOR = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER")
          for what, value in (("NAME", "Ada"), ("EMAIL", "ada@example.com"))}  # fmt: skip
BUILD = ROOT / "tests" / "release" / "build"
PROGRAM = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "gaiaflow-setup/release/bin/registry"


def lacking() -> str:
    """Return why this machine can make no releases, or nothing."""
    if not shutil.which("docker") or subprocess.run(["docker", "info"], capture_output=True).returncode:
        return "a release builds an image, and no Docker engine answers"
    is_there = PROGRAM.is_file() or can_build()
    if (
        not is_there
        and subprocess.run(["docker", "image", "inspect", image_of_registry()], capture_output=True).returncode
    ):
        return f"there is no registry: neither {PROGRAM} nor the image {image_of_registry()} (tests/kube/build)"
    return ""


def can_build() -> bool:
    """Return whether the registry's program can be built here."""
    return BUILD.is_file() and bool(shutil.which("go"))


def image_of_registry() -> str:
    """Return the registry's image, as the product pins it."""
    versions = yaml.safe_load((ROOT / "inventory/group_vars/all/versions.yml").read_text())
    return str(versions["registry_image"])


def registry_program(directory: Path) -> Path:
    """Return the registry's program: as it was built, or out of its image.

    Args:
        directory: Where to it is copied.
    """
    if PROGRAM.is_file():
        return PROGRAM
    if can_build():
        built = subprocess.run([BUILD, "programs"], check=True, stdout=subprocess.PIPE, text=True, timeout=1800).stdout
        return Path(built.strip()) / "bin" / "registry"
    container = docker("create", image_of_registry())
    docker("cp", f"{container}:/bin/registry", str(directory / "registry-program"))
    docker("rm", container)
    return directory / "registry-program"


def docker(*words: str) -> str:
    """Return what Docker's command line prints.

    Args:
        words: Its arguments.
    """
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True).stdout.strip()


def make_base() -> None:
    """Make the image that tiny images are built on, where it isn't there."""
    if not subprocess.run(["docker", "image", "inspect", BASE], capture_output=True).returncode:
        return
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("tiny"))
    subprocess.run(["docker", "import", "-", BASE], input=content.getvalue(), check=True, capture_output=True)


@dataclass
class Releases:
    """What releases are made of and go to.

    Attributes:
        directory: For all that is written.
        registry: The registry.
        git: The git server.
        project: A project.
        environment: What commands are run with.
    """

    directory: Path
    registry: ImageRegistry
    git: GitServer
    project: Path
    environment: dict[str, str] = field(repr=False)

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run gaiaflow-setup on the project.

        Args:
            arguments: The command.
            environment: More environment.
        """
        command = script_of(ROOT / "gaiaflow_py", *arguments)
        options = ["-e", f"base_image={BASE}", "-e", f"dag_repository_python={airflow_python()}"]
        return subprocess.run(
            [*command, *options], env={**self.environment, **environment}, cwd=self.project,
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip

    def told(self, *arguments: str, **environment: str) -> dict[str, Any]:
        """Run a command with `--json`, which must succeed, and return its document.

        Args:
            arguments: The command.
            environment: More environment.
        """
        done = self.run(*arguments, "--json", **environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return dict(json.loads(done.stdout))

    def push_image(self) -> None:
        """Have the image of what was there from the beginning in the registry; pushed by the command once."""
        copy = self.directory / "registry-with-image"
        if copy.exists():
            shutil.copytree(copy, self.registry.data / "docker", dirs_exist_ok=True)
        else:
            self.told("release", "image")
            shutil.copytree(self.registry.data / "docker", copy)

    def refused(self, *arguments: str, **environment: str) -> str:
        """Run a command that must fail, and return all that it says.

        Args:
            arguments: The command.
            environment: More environment.
        """
        done = self.run(*arguments, **environment)
        assert done.returncode == 1, done.stdout + done.stderr
        assert "Traceback" not in done.stderr and "What to do:" in done.stderr
        return done.stderr

    def commit(self, **files: str) -> None:
        """Change files of the project's code or DAGs, and commit that.

        Args:
            files: Contents by name; `version` is the package's version, others are modules of the DAGs' package.
        """
        for name, content in files.items():
            if name == "version":
                (self.project / "src" / PACKAGE / "__init__.py").write_text(f'__version__ = "{content}"\n')
            else:
                (self.project / "dags" / f"{PACKAGE}_dags" / f"{name}.py").write_text(content)
        git("-C", str(self.project), "add", "--all")
        git("-C", str(self.project), "commit", "--quiet", "--allow-empty", "--message", "Change", **AUTHOR)

    def describe(self, **release: Any) -> None:
        """Write the project's prod.yaml, and commit it.

        Args:
            release: What differs from the usual; `stages` stands beside `release`.
        """
        stages = release.pop("stages", None)
        usual = {"registry": f"{self.registry.host}/team", "dag_repository": self.git.url(CDR), "owners": ["@team"]}
        content = {"namespace": "team-a", "release": {**usual, **release}} | ({"stages": stages} if stages else {})
        (self.project / "dags" / f"{PACKAGE}_dags" / "prod.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
        self.commit()

    def cdr(self, *words: str) -> str:
        """Return what git says of the central DAG repository.

        Args:
            words: The question.
        """
        return self.git.read(CDR, *words)

    def show(self, path: str, revision: str = "main") -> str:
        """Return a file of the central DAG repository.

        Args:
            path: The file.
            revision: Where.
        """
        return self.cdr("show", f"{revision}:{path}")

    def subjects(self, revision: str = "main") -> list[str]:
        """Return the subjects of the central DAG repository's commits, the newest first.

        Args:
            revision: The branch.
        """
        return self.cdr("log", "--format=%s", revision).splitlines()

    def reset(self) -> None:
        """Bring everything to where nothing is released."""
        self.registry.empty()
        self.registry.gate.bytes_left = None
        self.git.refuses_pushes = False
        self.git.pushes = 0
        for reference in self.cdr("for-each-ref", "--format=%(refname)", "refs/heads").split():
            self.cdr(
                "update-ref", *(("refs/heads/main", "begun") if reference.endswith("/main") else ("-d", reference))
            )
        for hook in (self.git.path(CDR) / "hooks").iterdir():
            hook.unlink()
        git("-C", str(self.project), "reset", "--quiet", "--hard", "begun")
        git("-C", str(self.project), "clean", "--quiet", "-dffx")
        for tag in git("-C", str(self.project), "tag").split():
            if tag != "begun":
                git("-C", str(self.project), "tag", "--delete", tag)


@contextmanager
def available(directory: Path) -> Iterator[Releases]:
    """Have all of it; no image and no process is left.

    Args:
        directory: For all that is written.
    """
    make_base()
    password = f"registry-{secrets.token_hex(16)}"
    with ExitStack() as stack:
        (directory / "git").mkdir()
        program = registry_program(directory)
        registry = stack.enter_context(ImageRegistry(program, directory / "registry", {"ada": password}).running())
        server = stack.enter_context(GitServer(directory / "git").running())
        project = generate(directory / "projects", NAME, project_name=f"Cellar {MARK}", include_example="False")
        (project / "Dockerfile").write_text("ARG BASE_IMAGE=scratch\nFROM ${BASE_IMAGE}\nCOPY src /opt/package\n")
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory / "user"),
            "GAIAFLOW_HOME": str(directory / "home"),
            "LANG": "C.UTF-8",
            "GAIAFLOW_REGISTRY_USER": "ada",
            "GAIAFLOW_REGISTRY_PASSWORD": password,
            "GAIAFLOW_CDR_TOKEN": server.token,
            "GITHUB_ACTOR": "octo-ada",
        }
        (directory / "user").mkdir()
        releases = Releases(directory, registry, server, project, environment)
        begin(releases)
        yield releases
        remove_images(f"{NAME}/", f"{registry.host}/")


def begin(releases: Releases) -> None:
    """Make the central DAG repository, and commit the project.

    Args:
        releases: All the rest.
    """
    checkout = releases.directory / "cdr"
    done = releases.run("cdr", "init", str(checkout))
    assert done.returncode == 0, done.stdout + done.stderr
    releases.git.create(CDR)
    bare = str(releases.git.path(CDR))
    git("-C", str(checkout), "push", "--quiet", bare, "HEAD:refs/heads/main", "HEAD:refs/tags/begun")
    git("init", "--quiet", "--initial-branch=main", str(releases.project))
    releases.describe()
    git("-C", str(releases.project), "tag", "begun")
