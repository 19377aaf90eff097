"""The company that releases go to: a registry, a git server, AWS's doubles, and a runner for a project's workflows."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import companies
import pytest
import sigstore
from companies import Company
from gitlab import GitLab
from registries import reached_from
from sigstore import Fulcio

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests that this machine can't run."""
    mine = [item for item in items if HERE in item.path.parents]
    if mine and (reason := companies.lacking()):
        for item in mine:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def company(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    """All of it, running; nothing is left afterwards but what the next run needs again."""
    done = subprocess.run([HERE / "build"], stdout=subprocess.PIPE, text=True, check=True, timeout=1800)
    with ExitStack() as stack:
        made = companies.make(Path(done.stdout.strip()), tmp_path_factory.mktemp("company"), stack)
        yield made
        made.remove_images()


@pytest.fixture(scope="session")
def aws(company: Company) -> Iterator[str]:
    """The address of AWS's doubles."""
    with ExitStack() as stack:
        yield companies.start_aws(company.directory, company.tokens, stack)


@pytest.fixture(scope="session")
def builder_options(company: Company) -> Iterator[str]:
    """What `docker buildx create` is told where Docker Hub can't be reached."""
    subprocess.run([HERE / "build", "builder"], stdout=subprocess.PIPE, check=True, timeout=1800)
    with ExitStack() as stack:
        yield companies.start_docker_hub(company, stack)


@pytest.fixture(scope="session")
def fulcio(company: Company) -> Iterator[Fulcio]:
    """Sigstore's certificate authority, which trusts the jobs of a GitLab."""
    done = subprocess.run([HERE / "build", "sigstore"], stdout=subprocess.PIPE, text=True, check=True, timeout=1800)
    program = Path(done.stdout.strip()) / "bin" / "fulcio"
    with sigstore.running(program, company.directory / "fulcio") as authority, reached_from("bridge", authority.port):
        yield authority


@pytest.fixture(scope="session")
def gitlab(company: Company) -> Iterator[GitLab]:
    """A project of the company's whose pipeline GitLab runs."""
    if missing := [program for program in ("node", "npm", "rsync") if not shutil.which(program)]:
        pytest.skip(f"GitLab's pipelines need {', '.join(missing)} (docs/testing.md)")
    if there := companies.images_of_others(companies.GITLAB_IMAGES):
        pytest.skip(f"this machine has {', '.join(there)} already, which the tests would replace (docs/testing.md)")
    done = subprocess.run([HERE / "build", "gitlab"], stdout=subprocess.PIPE, text=True, check=True, timeout=1800)
    program = Path(done.stdout.strip()) / "gitlab-ci-local/node_modules/.bin/gitlab-ci-local"
    with ExitStack() as stack:
        yield companies.on_gitlab(company, program, stack)


@pytest.fixture
def clean(company: Company) -> Iterator[Company]:
    """The company as it is before the first release, with a project of which nothing is released."""
    company.reset()
    yield company
    company.reset()
