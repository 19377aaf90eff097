"""A release as GitLab makes it: the project's own pipeline in gitlab-ci-local, a real registry, a real git server."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from companies import NAME, PACKAGE, REPOSITORY, Company
from git_over_http import git
from gitlab import GitLab
from sigstore import Fulcio, job_of_gitlab, signer

TAG = {"CI_COMMIT_TAG": "v0.1.0", "CI_COMMIT_REF_NAME": "v0.1.0"}


@pytest.mark.parametrize(
    ("variables", "jobs"),
    [
        ({"CI_COMMIT_BRANCH": "main"}, ["test"]),
        ({"CI_PIPELINE_SOURCE": "merge_request_event"}, ["test"]),
        (TAG, ["test", "release"]),
        ({"CI_COMMIT_BRANCH": "main", "ROLLBACK": "0.1.0"}, ["rollback"]),
    ],
)
def test_what_a_pipeline_has(gitlab: GitLab, variables: dict[str, str], jobs: list[str]) -> None:
    assert gitlab.jobs(**variables) == jobs


@pytest.mark.thorough
def test_a_tag_is_tested_and_released_and_one_can_go_back(clean: Company, gitlab: GitLab, builder_options: str) -> None:
    done = gitlab.run(**TAG, BUILDX_OPTIONS=builder_options)
    assert done.returncode == 0, done.stdout
    digest = clean.registry.digest(REPOSITORY, "0.1.0")
    assert clean.cdr(f"dags/{NAME}/{PACKAGE}_dags/image.txt").strip().endswith(digest)
    assert "https://spdx.dev/Document" in clean.attested("0.1.0")
    assert not [secret for secret in clean.secrets if secret in done.stdout]
    assert "buildx_buildkit" not in subprocess.check_output(["docker", "ps", "--all"], text=True)
    back = gitlab.run(ROLLBACK="0.1.0")
    assert back.returncode == 0 and "changed=0" in back.stdout, back.stdout
    assert clean.subjects()[0] == f"Release {NAME} 0.1.0"


@pytest.mark.thorough
def test_an_image_is_signed_once_by_the_jobs_identity(clean: Company, gitlab: GitLab, fulcio: Fulcio) -> None:
    variables = {
        **TAG,
        "ATTESTATIONS": "false",
        "SIGN_IMAGES": "true",
        "SIGSTORE_ID_TOKEN": fulcio.issuer.token(job_of_gitlab(f"team/{NAME}", "v0.1.0")),
        "RELEASE_VARIABLES": json.dumps({"release_sign_options": fulcio.options}),
        "FORWARDED": f"{gitlab.variables['FORWARDED']},{fulcio.port}",
    }
    for _ in range(2):
        done = gitlab.run("release", **variables)
        assert done.returncode == 0, done.stdout
        assert variables["SIGSTORE_ID_TOKEN"] not in done.stdout
    digest = clean.registry.digest(REPOSITORY, "0.1.0")
    signed_by = signer(clean.registry, REPOSITORY, digest, fulcio.root())
    assert signed_by == f"https://gitlab.example/team/{NAME}//.gitlab-ci.yml@refs/tags/v0.1.0"
    unsigned = gitlab.run("release", **variables | {"SIGSTORE_ID_TOKEN": ""})
    assert unsigned.returncode and "Nobody vouches for this run" in unsigned.stdout, unsigned.stdout


@pytest.mark.thorough
def test_a_tag_that_is_no_version_ends_it_before_a_push(clean: Company, gitlab: GitLab) -> None:
    done = gitlab.run("release", **TAG | {"CI_COMMIT_TAG": "v0.3.0"})
    assert done.returncode and "The tag is v0.3.0, and the package's __version__ is 0.1.0" in done.stdout, done.stdout
    assert not clean.registry.tags(REPOSITORY) and not clean.git.pushes


@pytest.mark.thorough
def test_dag_repository_checks_what_is_pushed(clean: Company, gitlab: GitLab, tmp_path: Path) -> None:
    clean.release_by_hand()
    checkout = clean.clone_cdr(tmp_path / "cdr")
    clean.setup("cdr", "init", "--platform", "gitlab", str(checkout))
    # gitlab-ci-local takes a repository's name from GitLab's kind of address.
    git("-C", str(checkout), "remote", "set-url", "origin", clean.git.url("team/airflow-dags"))
    pipeline = replace(gitlab, project=checkout)
    done = pipeline.run("check", CI_COMMIT_BEFORE_SHA="0" * 40)
    assert done.returncode == 0 and "failed=0" in done.stdout, done.stdout
    (checkout / f"dags/{NAME}/release.yaml").unlink()
    done = pipeline.run("check", CI_COMMIT_BEFORE_SHA="0" * 40)
    assert done.returncode and NAME in done.stdout, done.stdout
