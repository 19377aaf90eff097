"""What a project's releases go to, all on this machine: registry, git server, AWS's doubles, a runner of workflows."""

from __future__ import annotations

import gzip
import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import yaml
from act import Act, steps
from git_over_http import GitServer, git
from gitlab import CERTIFICATES, GitLab
from registries import ImageRegistry, free_port, reached_from, remove_images
from stack import CHECKOUT, wait_until
from token_endpoint import TokenEndpoint

HERE = CHECKOUT / "tests" / "release"
NAME, PACKAGE = "barrel-project", "barrel_project"
OWNER = "team"
REPOSITORY = f"{OWNER}/{NAME}/{PACKAGE}"
CDR = "airflow-dags"
ACCOUNT = "123456789012"
AWS_REGION = "eu-central-1"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/releases"
# By their names on Docker Hub: what images are built upon, and what writes a bill of materials.
HUB_IMAGES = {
    "library/python:3.13-slim": "python:3.13-slim",
    "docker/buildkit-syft-scanner:stable-1": "gaiaflow-test/scanner:1",
}
# What .gitlab-ci.yml names, and what stands in for it.
GITLAB_IMAGES = {"python:3.13": "gaiaflow-test/job:1", "docker:29-dind": "gaiaflow-test/engine:1"}
# What moto's ECR hands out.
ECR_LOGIN = ("AWS", f"{ACCOUNT}-auth-token")
AUTHOR = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER")
          for what, value in (("NAME", "Ada"), ("EMAIL", "ada@example.com"))}  # fmt: skip


def lacking() -> str:
    """Return why this machine can't run the tests of releases, or nothing."""
    if missing := [program for program in ("docker", "git", "go", "mmdebstrap", "perl") if not shutil.which(program)]:
        return f"the tests of releases need {', '.join(missing)} (docs/testing.md)"
    if subprocess.run(["docker", "version"], capture_output=True).returncode:
        return "the tests of releases need a Docker engine, and none answers (docs/testing.md)"
    return ""


@dataclass
class Company:
    """A company.

    Attributes:
        directory: For all that is written.
        registry: Its image registry.
        git: Its git server.
        tokens: What hands jobs their OIDC tokens.
        act: The runner of workflows.
        project: The checkout of a project.
        environment: What the product's commands are run with by hand.
    """

    directory: Path
    registry: ImageRegistry
    git: GitServer
    tokens: TokenEndpoint
    act: Act
    project: Path
    environment: dict[str, str] = field(repr=False)

    @property
    def secrets(self) -> list[str]:
        """Every value that must not be seen anywhere."""
        return [self.git.token, *self.registry.logins.values(), self.tokens.bearer, self.tokens.key]

    def setup(self, *arguments: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `gaiaflow-setup`; AssertionError with all its output when it does not end as expected."""
        command = [str(CHECKOUT / "gaiaflow-setup"), *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=600)
        assert (done.returncode == 0) is ok, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def commit(self, message: str) -> None:
        """Commit all that has changed in the project."""
        git("-C", str(self.project), "add", "--all")
        git("-C", str(self.project), "commit", "--quiet", "--message", message, **AUTHOR)

    def raise_version(self, version: str) -> None:
        """Give the project another version, and commit it."""
        (self.project / "src" / PACKAGE / "__init__.py").write_text(
            f'"""The package."""\n\n__version__ = "{version}"\n'
        )
        self.commit(f"Version {version}")

    def release(self, tag: str, *, tested: bool = True, **secrets: str) -> subprocess.CompletedProcess[str]:
        """Publish a release of what is committed, as on GitHub: a tag, and the event that begins the workflow.

        Args:
            tag: The tag.
            tested: Whether the project's tests come first, which takes a minute.
            secrets: Secrets that differ in this run.
        """
        git("-C", str(self.project), "tag", "--force", tag)
        payload = {"action": "published", "release": {"tag_name": tag}, "repository": self._described()}
        workflow = self.project / ".github" / "workflows" / "release.yml"
        if not tested:
            workflow = without_tests(workflow, self.directory / "release.yml")
        return self.act.run(self.project, "release", payload, workflow, **secrets)

    def release_by_hand(self) -> None:
        """Release what is committed, without a workflow."""
        self.setup("release", "all", "--project", str(self.project))

    def would_run(self, event: str, **payload: Any) -> list[str]:
        """Return the steps that an event leads to, the checkout and the installation aside."""
        workflow = self.project / ".github" / "workflows" / "release.yml"
        payload = {"repository": self._described(), **payload}
        done = self.act.run(self.project, event, payload, workflow, "--dryrun")
        assert done.returncode == 0, done.stdout
        return [step for step in steps(done.stdout) if not step.startswith(("actions/checkout", "Install "))]

    @staticmethod
    def _described() -> dict[str, Any]:
        return {"name": NAME, "full_name": f"{OWNER}/{NAME}", "private": True, "default_branch": "main"}

    @contextmanager
    def repository_settings(self, variables: Mapping[str, str], environment: Mapping[str, str]) -> Iterator[None]:
        """Let the project's repository have more variables, and its jobs more environment."""
        kept = self.act.variables, self.act.environment
        self.act.variables, self.act.environment = {**kept[0], **variables}, {**kept[1], **environment}
        try:
            yield
        finally:
            self.act.variables, self.act.environment = kept

    def clone_cdr(self, directory: Path) -> Path:
        """Clone the central DAG repository; return the checkout."""
        git("clone", "--quiet", str(self.git.path(CDR)), str(directory))
        return directory

    def cdr(self, path: str, revision: str = "main") -> str:
        """Return a file of the central DAG repository."""
        return self.git.read(CDR, "show", f"{revision}:{path}")

    def subjects(self) -> list[str]:
        """Return the subjects of the central DAG repository's commits, the newest first."""
        return self.git.read(CDR, "log", "--format=%s", "main").splitlines()

    def attested(self, version: str) -> dict[str, Any]:
        """Return what a builder has said of an image, by the kind of statement."""
        index = self.registry.content(REPOSITORY, f"manifests/{version}")
        (beside,) = [one for one in index["manifests"] if "vnd.docker.reference.digest" in one.get("annotations", {})]
        layers = self.registry.content(REPOSITORY, f"manifests/{beside['digest']}")["layers"]
        said = {one["annotations"]["in-toto.io/predicate-type"]: f"blobs/{one['digest']}" for one in layers}
        return {kind: self.registry.content(REPOSITORY, blob)["predicate"] for kind, blob in said.items()}

    def reset(self) -> None:
        """Bring registry, central DAG repository and project back to where nothing is released."""
        # Layers stay, as they do where others have pushed them before.
        for tags in [*self.registry.data.rglob("_manifests")]:
            shutil.rmtree(tags)
        self.registry.gate.bytes_left = None
        self.git.refuses_pushes = False
        self.git.read(CDR, "update-ref", "refs/heads/main", "begun")
        git("-C", str(self.project), "reset", "--quiet", "--hard", "begun")
        git("-C", str(self.project), "clean", "--quiet", "--force", "-d", "-x")
        self.git.pushes = 0

    def remove_images(self) -> None:
        """Remove what builds have left in this machine's engine."""
        remove_images(f"{NAME}/{PACKAGE}", f"{self.registry.host}/")

    def contents(self) -> Iterator[tuple[str, bytes]]:
        """Yield all that was pushed, unpacked: every blob of every image, every object of the git server."""
        for blob in self.registry.blobs():
            content = blob.read_bytes()
            yield str(blob), gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
        for repository in self.git.root.rglob("*.git"):
            command = ["git", "-C", str(repository), "cat-file", "--batch", "--batch-all-objects"]
            yield str(repository), subprocess.run(command, capture_output=True, check=True).stdout


def without_tests(workflow: Path, copy: Path) -> Path:
    """Write a workflow without the job `test`, for what comes after it; return the copy."""
    content = workflow.read_text()
    before, _, rest = content.partition("  test:\n")
    copy.write_text(before + rest[rest.index("  release:\n") :].replace("    needs: test\n", "", 1))
    return copy


def build_wheel(directory: Path) -> Path:
    """Build the product's wheel; return it."""
    command: list[str | Path] = [CHECKOUT / ".venv" / "bin" / "uv", "build", "--wheel", "--quiet"]
    command += ["--no-build-isolation", "--python", sys.executable, "--out-dir", directory, CHECKOUT]
    subprocess.run(command, check=True, timeout=300)
    (wheel,) = directory.glob("*.whl")
    return wheel


def make_project(
    directory: Path, registry: str, dag_repository: str, origin: str, ci_platform: str = "github", tested: bool = False
) -> Path:
    """Make a project as a newcomer does, and say where its releases go.

    Args:
        directory: Where to.
        registry: The registry's host.
        dag_repository: The central DAG repository's address.
        origin: The project's own repository's address.
        ci_platform: Whose workflows it has.
        tested: Whether its own tests are to pass, too.
    """
    command = [str(CHECKOUT / "gaiaflow-setup"), "new", "--no-input", "--output-dir", str(directory)]
    subprocess.run(
        [*command, "project_name=Barrel project", "include_example=False", f"ci_platform={ci_platform}"],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    project = directory / NAME
    prod = project / "dags" / f"{PACKAGE}_dags" / "prod.yaml"
    told = {"registry": f"{registry}/{OWNER}", "dag_repository": dag_repository, "owners": ["@team"]}
    prod.write_text(prod.read_text() + yaml.safe_dump({"namespace": "team", "release": told}))
    # What this project's code needs; more would be installed for each build.
    needs = '"pandas>=2.2,<4"' + (', "scikit-learn>=1.6,<2"' if tested else "")
    pyproject = project / "pyproject.toml"
    before, _, rest = pyproject.read_text().partition("dependencies = [")
    pyproject.write_text(f"{before}dependencies = [{needs}{rest[rest.index(']') :]}")
    git("init", "--quiet", "--initial-branch=main", str(project))
    git("-C", str(project), "remote", "add", "origin", origin)
    git("-C", str(project), "add", "--all")
    git("-C", str(project), "commit", "--quiet", "--message", "Begin", **AUTHOR)
    git("-C", str(project), "tag", "begun")
    return project


def start_aws(directory: Path, tokens: TokenEndpoint, stack: ExitStack) -> str:
    """Start AWS's doubles in an environment of their own; return their address.

    Args:
        directory: For their log.
        tokens: Whose tokens they trust.
        stack: Ends them.
    """
    uv, python = str(CHECKOUT / ".venv" / "bin" / "uv"), str(directory / "aws" / "bin" / "python")
    subprocess.run([uv, "venv", "--quiet", "--no-project", "--python", sys.executable, directory / "aws"], check=True)
    sync = [uv, "pip", "sync", "--quiet", "--no-config", "--require-hashes", "--python", python, str(HERE / "aws.txt")]
    subprocess.run(sync, check=True, timeout=300)
    port = free_port()
    environment = {**os.environ, "OIDC_KEY": tokens.key, "OIDC_SUBJECT": tokens.subject, "MOTO_ACCOUNT_ID": ACCOUNT}
    with (directory / "aws.log").open("wb") as log:
        process = subprocess.Popen([python, HERE / "aws.py", str(port)], env=environment, stdout=log, stderr=log)
    stack.callback(process.wait, 30)
    stack.callback(process.terminate)
    address = f"http://127.0.0.1:{port}"
    wait_until(lambda: answers(f"{address}/moto-api/"), 60, "AWS's doubles answer")
    return address


def repositories_in_ecr(directory: Path, address: str) -> list[dict[str, Any]]:
    """Return the repositories that ECR has.

    Args:
        directory: Where AWS's doubles were started.
        address: Their address.
    """
    code = (
        "import boto3, json; "
        "print(json.dumps(boto3.client('ecr').describe_repositories()['repositories'], default=str))"
    )
    login = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_REGION": AWS_REGION}
    login |= {"AWS_DEFAULT_REGION": AWS_REGION, "AWS_ENDPOINT_URL": address}
    command = [str(directory / "aws" / "bin" / "python"), "-c", code]
    done = subprocess.run(command, env={**os.environ, **login}, capture_output=True, text=True, check=True)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def answers(address: str) -> bool:
    """Return whether an address answers."""
    try:
        return requests.get(address, timeout=5).ok
    except requests.ConnectionError:
        return False


def start_docker_hub(company: Company, stack: ExitStack) -> str:
    """Start a registry with the images that a builder pulls from Docker Hub; return the options of such a builder.

    Args:
        company: Whose builder it is.
        stack: Ends it.
    """
    hub = stack.enter_context(ImageRegistry(company.registry.program, company.directory / "hub", {}).running())
    for name, local in HUB_IMAGES.items():
        for command in (["tag", local, f"{hub.host}/{name}"], ["push", "--quiet", f"{hub.host}/{name}"],
                        ["image", "rm", f"{hub.host}/{name}"]):  # fmt: skip
            subprocess.run(["docker", *command], check=True, capture_output=True, timeout=300)
    settings = [f'[registry."docker.io"]\nmirrors = ["{hub.host}"]']
    settings += [f'[registry."{host}"]\nhttp = true' for host in (hub.host, company.registry.host)]
    (company.act.wheels / "buildkitd.toml").write_text("\n".join(settings) + "\n")
    # The company's registry listens on this machine's loopback.
    driver = "--driver-opt network=host --driver-opt image=gaiaflow-test/buildkit:1"
    return f"{driver} --buildkitd-config /wheels/buildkitd.toml"


def images_of_others(names: Iterable[str]) -> list[str]:
    """Return which of these images are here and none of the tests' own: nobody else's is to be replaced."""
    label = '{{with .Config.Labels}}{{index . "gaiaflow.content"}}{{end}}'
    command = ["docker", "image", "inspect", "--format", label]
    found = {name: subprocess.run([*command, name], capture_output=True, text=True) for name in names}
    return [name for name, done in found.items() if not done.returncode and not done.stdout.strip()]


def on_gitlab(company: Company, program: Path, stack: ExitStack) -> GitLab:
    """Make a project whose pipeline GitLab runs.

    Args:
        company: What its releases go to.
        program: gitlab-ci-local.
        stack: Ends what runs.
    """
    ports = [company.registry.gate.port, company.git.port]
    gateway = stack.enter_context(reached_from("bridge", *ports))
    for name, image in GITLAB_IMAGES.items():
        subprocess.run(["docker", "tag", image, name], check=True, capture_output=True)
        stack.callback(subprocess.run, ["docker", "image", "rm", name], check=True, capture_output=True)
    stack.callback(subprocess.run, ["docker", "volume", "rm", "--force", CERTIFICATES], check=True, capture_output=True)
    directory = company.directory / "on-gitlab"
    directory.mkdir()
    project = make_project(
        directory,
        company.registry.host,
        company.git.url(CDR),
        company.git.url(f"{OWNER}/{NAME}"),
        "gitlab",
        tested=True,
    )
    variables = {
        "GAIAFLOW_SETUP": company.act.variables["GAIAFLOW_SETUP"],
        "GAIAFLOW_CDR_TOKEN": company.git.token,
        "GAIAFLOW_REGISTRY_USER": "releases",
        "GAIAFLOW_REGISTRY_PASSWORD": company.registry.logins["releases"],
        "FORWARDED": f"{gateway}:{','.join(map(str, ports))}",
    }
    volumes = [f"{company.act.wheels}:/wheels:ro", f"{company.act.cache}:/cache"]
    return GitLab(program, project, company.directory, volumes, variables)


def make(tools: Path, directory: Path, stack: ExitStack) -> Company:
    """Make a company.

    Args:
        tools: What `tests/release/build` has made.
        directory: For all that is written.
        stack: Ends what runs.
    """
    logins = {"releases": f"registry-{secrets.token_hex(16)}", ECR_LOGIN[0]: ECR_LOGIN[1]}
    (directory / "wheels").mkdir()
    (directory / "git" / OWNER).mkdir(parents=True)
    (tools / "cache").mkdir(exist_ok=True)
    registry = stack.enter_context(ImageRegistry(tools / "bin/registry", directory / "registry", logins).running())
    server = stack.enter_context(GitServer(directory / "git").running())
    tokens = stack.enter_context(TokenEndpoint(f"repo:{OWNER}/{NAME}:environment:release").running())
    wheel = build_wheel(directory / "wheels")
    environment = {**os.environ, "GAIAFLOW_HOME": str(directory / "home"), "GAIAFLOW_CDR_TOKEN": server.token}
    environment |= {"GAIAFLOW_REGISTRY_USER": "releases", "GAIAFLOW_REGISTRY_PASSWORD": logins["releases"]}
    act = Act(
        tools / "bin/act", tools / "cache", directory / "wheels", directory,
        variables={"GAIAFLOW_SETUP": f"gaiaflow-setup[aws] @ file:///wheels/{wheel.name}", "ATTESTATIONS": "false"},
        secrets={
            "CDR_TOKEN": server.token,
            "REGISTRY_USER": "releases",
            "REGISTRY_PASSWORD": logins["releases"],
        },
    )  # fmt: skip
    server.create(f"{OWNER}/{NAME}")
    project = make_project(directory, registry.host, server.url(CDR), server.url(f"{OWNER}/{NAME}"))
    company = Company(directory, registry, server, tokens, act, project, environment)
    begin_cdr(company)
    return company


def begin_cdr(company: Company) -> None:
    """Make the central DAG repository, as the company's administrator does once."""
    checkout = company.directory / "cdr"
    company.setup("cdr", "init", "--platform", "github", str(checkout))
    company.git.create(CDR)
    git(
        "-C",
        str(checkout),
        "push",
        "--quiet",
        str(company.git.path(CDR)),
        "HEAD:refs/heads/main",
        "HEAD:refs/tags/begun",
    )
