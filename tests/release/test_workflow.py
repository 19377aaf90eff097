"""A release as GitHub makes it: the project's own workflow in a real runner, a real registry, a real git server."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from act import steps
from companies import AUTHOR, AWS_REGION, NAME, PACKAGE, REPOSITORY, ROLE, Company, repositories_in_ecr
from git_over_http import git

FOLDER = f"dags/{NAME}"
RELEASE = "Check it all, push the image, and deliver the DAGs"
BEGUN = "Begin the central DAG repository"
TESTED = ["Lint", "Test, and import the DAGs with Airflow"]


def image_in_dags(company: Company) -> str:
    """Return the image that the central DAG repository's DAGs name."""
    return company.cdr(f"{FOLDER}/{PACKAGE}_dags/image.txt").strip()


def nothing_was_pushed(company: Company) -> bool:
    return not company.registry.tags(REPOSITORY) and not company.git.pushes


def test_release_is_in_registry_and_dag_repository_and_no_secret_anywhere(clean: Company) -> None:
    done = clean.release("v0.1.0", tested=False)
    assert done.returncode == 0, done.stdout
    digest = clean.registry.digest(REPOSITORY, "0.1.0")
    assert image_in_dags(clean) == f"{clean.registry.host}/{REPOSITORY}@{digest}"
    assert clean.subjects() == [f"Release {NAME} 0.1.0", BEGUN]
    record = yaml.safe_load(clean.cdr(f"{FOLDER}/release.yaml"))
    assert (record["version"], record["dags"]) == ("0.1.0", [f"{PACKAGE}_starter"])
    assert "octo" in clean.cdr(f"releases/{NAME}.yaml")
    assert_no_secret(clean, done.stdout)


def assert_no_secret(company: Company, logs: str) -> None:
    """Look for every credential in logs, command lines, images and git objects."""
    assert len(company.act.arguments) > 100
    for secret in company.secrets:
        assert secret not in logs
        assert not [line for line in company.act.arguments if secret in line]
    seen = 0
    for place, content in company.contents():
        seen += len(content)
        assert not [secret for secret in company.secrets if secret.encode() in content], place
    assert seen > 1 << 20


@pytest.mark.parametrize(
    ("event", "payload", "expected"),
    [
        ("release", {"release": {"tag_name": "v0.1.0"}}, [*TESTED, RELEASE]),
        ("workflow_dispatch", {"ref": "refs/tags/v0.1.0", "inputs": {"stage": "production"}}, [*TESTED, RELEASE]),
        ("workflow_dispatch", {"ref": "refs/heads/main", "inputs": {"rollback": "0.1.0"}}, ["Roll back"]),
        # Without a tag there is nothing to release.
        ("workflow_dispatch", {"ref": "refs/heads/main", "inputs": {}}, TESTED),
    ],
)
def test_what_an_event_leads_to(clean: Company, event: str, payload: dict[str, Any], expected: list[str]) -> None:
    assert clean.would_run(event, **payload) == expected


def test_failing_tests_end_the_release(clean: Company) -> None:
    (clean.project / "tests" / "test_more.py").write_text("def test_more() -> None:\n    assert 1 == 2\n")
    clean.commit("Break it")
    done = clean.release("v0.1.0")
    assert done.returncode and steps(done.stdout, "Failure") == TESTED[1:]
    assert "test_more" in done.stdout and RELEASE not in done.stdout
    assert nothing_was_pushed(clean)


@pytest.mark.parametrize(
    ("tag", "secrets", "message"),
    [
        ("v0.3.0", {}, "The tag is v0.3.0, and the package's __version__ is 0.1.0"),
        ("v0.1.0", {"CDR_TOKEN": "wrong"}, "The git server refuses the login"),
    ],
)
def test_what_stands_in_the_way_ends_it_before_a_push(
    clean: Company, tag: str, secrets: dict[str, str], message: str
) -> None:
    done = clean.release(tag, tested=False, **secrets)
    assert steps(done.stdout, "Failure") == [RELEASE], done.stdout
    assert message in done.stdout
    assert nothing_was_pushed(clean)


@pytest.mark.thorough
def test_a_builder_adds_bill_of_materials_and_provenance(clean: Company, builder_options: str) -> None:
    with clean.repository_settings({"ATTESTATIONS": "", "BUILDX_OPTIONS": builder_options}, {}):
        done = clean.release("v0.1.0", tested=False)
        assert done.returncode == 0, done.stdout
        again = clean.release("v0.1.0", tested=False)
    assert again.returncode == 0 and again.stdout.count("changed=0") == 1, again.stdout
    said = clean.attested("0.1.0")
    assert "pandas" in {one["name"] for one in said["https://spdx.dev/Document"]["packages"]}
    assert any(kind.startswith("https://slsa.dev/provenance/") for kind in said)
    assert image_in_dags(clean).endswith(clean.registry.digest(REPOSITORY, "0.1.0"))
    assert_no_secret(clean, done.stdout)
    assert "buildx_buildkit" not in subprocess.check_output(["docker", "ps", "--all"], text=True)


@pytest.mark.thorough
def test_amazons_registry_by_oidc(clean: Company, aws: str) -> None:
    form = {"Action": "AssumeRoleWithWebIdentity", "RoleArn": ROLE, "RoleSessionName": "x", "Version": "2011-06-15"}
    token = clean.tokens.token("somebody else")
    assert requests.post(aws, data={**form, "WebIdentityToken": token}, timeout=30).status_code == 400
    variables = {"AWS_ROLE_ARN": ROLE, "AWS_REGION": AWS_REGION}
    variables["RELEASE_VARIABLES"] = f'{{"release_ecr_region": "{AWS_REGION}"}}'
    no_login = {"REGISTRY_USER": "", "REGISTRY_PASSWORD": ""}
    with clean.repository_settings(variables, {**clean.tokens.variables, "AWS_ENDPOINT_URL": aws}):
        done = clean.release("v0.1.0", tested=False, **no_login)
    assert done.returncode == 0, done.stdout
    assert set(clean.tokens.audiences) == {"sts.amazonaws.com"}
    (made,) = repositories_in_ecr(clean.directory, aws)
    assert (made["repositoryName"], made["imageTagMutability"]) == (REPOSITORY, "IMMUTABLE")
    assert image_in_dags(clean).endswith(clean.registry.digest(REPOSITORY, "0.1.0"))
    assert not [secret for secret in clean.secrets if secret in done.stdout]


@pytest.mark.thorough
def test_dag_repository_checks_what_is_pushed(clean: Company, tmp_path: Path) -> None:
    clean.release_by_hand()
    checkout = clean.clone_cdr(tmp_path / "cdr")
    done = check_last_commit(clean, checkout)
    assert done.returncode == 0 and "failed=0" in done.stdout, done.stdout
    (checkout / FOLDER / f"{PACKAGE}_dags" / "starter_dag.py").write_text("# Nothing any more\n")
    git("-C", str(checkout), "commit", "--quiet", "--all", "--message", "By hand", **AUTHOR)
    done = check_last_commit(clean, checkout)
    assert done.returncode and f"The files of '{NAME}' aren't what was released as 0.1.0" in done.stdout, done.stdout


def check_last_commit(company: Company, checkout: Path) -> subprocess.CompletedProcess[str]:
    """Run the central DAG repository's own workflow, as after a push of one commit."""
    before, after = (git("-C", str(checkout), "rev-parse", name).strip() for name in ("HEAD~1", "HEAD"))
    payload = {"ref": "refs/heads/main", "before": before, "after": after}
    return company.act.run(checkout, "push", payload, checkout / ".github" / "workflows" / "check.yml")
