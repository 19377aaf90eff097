"""Projects as the template makes them."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from project_fixture import LOCK, cookiecutter, generate, run_airflow

from gaiaflow_py import __version__

EXAMPLE_ONLY = {
    "dags/wine_dags/example_dag.py",
    "notebooks/inference.ipynb",
    "notebooks/serving.ipynb",
    "src/wine/serving.py",
    "tests/test_serving.py",
}
ODD = """Zoë's "quoted" \\ <b>[x] #1 'project' 🍷"""


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same project with and without the example."""
    folders = {answer: tmp_path_factory.mktemp(answer) for answer in ("yes", "no")}
    return {
        answer: generate(folder, "wine", project_name="Wine", include_example=answer)
        for answer, folder in folders.items()
    }


def files(project: Path) -> set[str]:
    return {str(path.relative_to(project)) for path in project.rglob("*") if path.is_file()}


def test_defaults(tmp_path: Path) -> None:
    project = generate(tmp_path, "my-gaiaflow-project")
    assert (project / "src" / "my_gaiaflow_project" / "train.py").is_file()
    assert (project / "dags" / "my_gaiaflow_project_dags" / "example_dag.py").is_file()


def test_example_is_all_that_differs(projects: dict[str, Path]) -> None:
    assert files(projects["yes"]) - files(projects["no"]) == EXAMPLE_ONLY
    assert files(projects["no"]) <= files(projects["yes"])
    assert "load_wine" in (projects["yes"] / "src/wine/dataloader.py").read_text()
    assert not any("load_wine" in (projects["no"] / name).read_text() for name in files(projects["no"]))


@pytest.mark.parametrize("answer", ["yes", "no"])
def test_files_are_whole(projects: dict[str, Path], answer: str) -> None:
    project = projects[answer]
    for name in files(project):
        text = (project / name).read_text()
        assert "cookiecutter" not in text, name
        if name.endswith(".py"):
            ast.parse(text, name)


@pytest.mark.parametrize("answer", ["yes", "no"])
def test_generated_project_passes_its_own_linter(projects: dict[str, Path], answer: str) -> None:
    for arguments in (["check", "--no-cache"], ["format", "--no-cache", "--check"]):
        done = subprocess.run(["ruff", *arguments], cwd=projects[answer], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("platform", "workflows"),
    [
        ("github", {".github/workflows/test.yml", ".github/workflows/release.yml"}),
        ("gitlab", {".gitlab-ci.yml"}),
        ("none", set()),
    ],
)
def test_workflows_are_those_of_the_platform(tmp_path: Path, platform: str, workflows: set[str]) -> None:
    project = generate(tmp_path, "wine", project_name="Wine", ci_platform=platform)
    assert {name for name in files(project) if name.startswith((".github", ".gitlab"))} == workflows
    for name in workflows:
        content = (project / name).read_text()
        assert f"gaiaflow-setup[aws]=={__version__}" in content
        # A run that is changed by what it calls isn't the one that was looked at.
        assert all(re.search(r"@[0-9a-f]{40} # v", used) for used in re.findall(r"uses: ([^.].*)", content))


def test_dags_are_tested_with_the_airflow_of_the_stack(projects: dict[str, Path]) -> None:
    options = tomllib.loads((projects["yes"] / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    locked = re.findall(r"^(apache-airflow-(?:core|providers-\S+)==\S+)", LOCK.read_text(), re.MULTILINE)
    assert len(options["airflow"]) == 3 and set(options["airflow"]) <= set(locked)


@pytest.mark.parametrize("answer", ["yes", pytest.param("no", marks=pytest.mark.thorough)])
def test_generated_tests_pass(projects: dict[str, Path], answer: str, tmp_path: Path) -> None:
    done = run_airflow(["-m", "pytest", "-p", "no:cacheprovider", "-rs", projects[answer]], tmp_path, [])
    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout and re.search(r"\d\d passed", done.stdout), done.stdout


@pytest.mark.parametrize("answer", ["yes", "no"])
def test_modules_cost_little_to_import(projects: dict[str, Path], answer: str, tmp_path: Path) -> None:
    heavy = ["airflow", "kubernetes", "matplotlib", "mlflow", "numpy", "pandas", "sklearn"]
    modules = [path.stem for path in (projects[answer] / "src" / "wine").glob("*.py")]
    code = f"import sys, importlib\nfor name in {modules}: importlib.import_module('wine.' + name)\n"
    code += f"print([name for name in {heavy} if name in sys.modules])"
    done = run_airflow(["-c", code], tmp_path, [projects[answer] / "src"])
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_notebooks(projects: dict[str, Path]) -> None:
    notebooks = sorted((projects["yes"] / "notebooks").glob("*.ipynb"))
    assert [path.stem for path in notebooks] == ["inference", "mlflow_introduction", "serving"]
    for path in notebooks:
        notebook = json.loads(path.read_text())
        assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
        assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                assert cell["outputs"] == [] and cell["execution_count"] is None
                compile("".join(cell["source"]), path.name, "exec")


def test_odd_characters_and_a_folder_with_a_space(tmp_path: Path) -> None:
    answers = {"project_name": ODD, "author": ODD, "description": ODD, "package_name": "odd"}
    project = generate(tmp_path, "my odd folder", project_folder="my odd folder", **answers)
    metadata = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    assert metadata["description"] == ODD
    assert metadata["authors"] == [{"name": ODD}]
    title = (project / "README.md").read_text().splitlines()[0]
    assert re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", title) == f"# {ODD}"
    done = run_airflow(["-m", "pytest", "-q", "-p", "no:cacheprovider", project], tmp_path, [])
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("project_name", "package", "folder"),
    [("X Y", "x_y", "x-y"), ("3D parts", "project_3d_parts", "3d-parts"), ("Ünïted", "united", "united")],
)
def test_derived_names(tmp_path: Path, project_name: str, package: str, folder: str) -> None:
    assert (generate(tmp_path, folder, project_name=project_name) / "src" / package).is_dir()


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"package_name": "My-Project"}, "package_name 'My-Project' cannot be used: allowed are lower-case letters"),
        ({"package_name": "a__b"}, "package_name 'a__b' cannot be used: allowed are lower-case letters"),
        ({"package_name": "1st"}, "package_name '1st' cannot be used: allowed are lower-case letters"),
        ({"package_name": "class"}, "package_name 'class' cannot be used: it is a keyword"),
        ({"package_name": "json"}, "package_name 'json' cannot be used: it would hide the Python module"),
        ({"package_name": "mlflow"}, "package_name 'mlflow' cannot be used: it would hide the Python module"),
        ({"project_name": "Airflow"}, "allowed is any other name, such as 'airflow_project'"),
        ({"project_folder": "a/b"}, "project_folder 'a/b' cannot be used: allowed is one directory's name"),
        ({"project_folder": "."}, "project_folder '.' cannot be used: allowed is a directory's name"),
        ({"project_folder": " "}, "project_folder ' ' cannot be used: allowed is a directory's name"),
        ({"project_folder": "-x"}, "project_folder '-x' cannot be used: allowed is a directory's name"),
        ({"author": "a\nb"}, "author 'a\\nb' cannot be used: allowed is one line of text"),
        ({"ci_platform": "jenkins"}, "jenkins provided for choice variable ci_platform"),
        ({"description": "a\nb"}, "description 'a\\nb' cannot be used: allowed is one line of text"),
    ],
)
def test_refused_answers(tmp_path: Path, answers: dict[str, str], message: str) -> None:
    # Cookiecutter itself refuses a folder that exists unless it is told to write into it.
    done = cookiecutter(tmp_path, "--overwrite-if-exists", **answers)
    assert done.returncode != 0
    assert message in done.stderr
    assert not list(tmp_path.rglob("pyproject.toml"))


@pytest.mark.parametrize("layout", ["flat", "folders"])
def test_two_projects_in_one_airflow(tmp_path: Path, layout: str) -> None:
    central = tmp_path / "central"
    sources = []
    for name in ("red", "white"):
        project = generate(tmp_path, name, project_name=name)
        target = central if layout == "flat" else central / name
        target.mkdir(parents=True, exist_ok=True)
        subprocess.run(f'cp -r "{project}"/dags/* "{target}"', shell=True, check=True)
        sources.append(project / "src")
    code = (
        "import json, sys\n"
        "from airflow.dag_processing.dagbag import DagBag\n"
        "bag = DagBag(sys.argv[1])\n"
        "loaded = [stats.file.rpartition('/')[2] for stats in bag.dagbag_stats]\n"
        "print(json.dumps([bag.import_errors, sorted(bag.dags), sorted(loaded), 'kubernetes' in sys.modules]))"
    )
    done = run_airflow(["-c", code, central], tmp_path, sources)
    errors, dags, loaded, kubernetes = json.loads(done.stdout.splitlines()[-1])
    assert errors == {}
    assert dags == ["red_example", "red_starter", "white_example", "white_starter"]
    assert loaded == ["example_dag.py"] * 2 + ["starter_dag.py"] * 2
    assert not kubernetes


def test_manager_says_how_to_run_it(projects: dict[str, Path], tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    script = str(projects["yes"] / "gaiaflow_manager.py")
    command = [sys.executable, "-I", "-S", script, "--start"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "needs gaiaflow-setup" in done.stderr and "Traceback" not in done.stderr


def test_manager_hands_over_its_folder(projects: dict[str, Path], tmp_path: Path) -> None:
    package = tmp_path / "gaiaflow_py"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "manager.py").write_text(
        "import sys\nclass MlopsManager:\n    main = staticmethod(lambda project: print(project, sys.argv[1:]))\n"
    )
    command = [sys.executable, str(projects["yes"] / "gaiaflow_manager.py"), "--stop"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{projects['yes']} ['--stop']"
