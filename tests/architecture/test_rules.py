"""The rules of the house that a program can check: sizes, floors, folders, and what is written where."""

import ast
import contextlib
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from hatchling.builders.wheel import WheelBuilder

import models
from rushes.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("api", "cli", "models", "rushes", "rushes_client", "sandbox", "stack", "workers")
"""What the wheel holds."""
PRODUCT = (*PACKAGES, "chaos")
NOT_OURS = frozenset({".git", ".venv", ".rushes", ".hypothesis", "renders", "dist", "__pycache__"})

FLAT = {
    "account_status",
    "accounts",
    "catalog",
    "errors",
    "logs",
    "network",
    "readiness",
    "runtime",
    "settings",
    "timing",
    "webhooks",
}
FOLDER_MODULES = 12
MANY_MODULES = {"cli/commands"}  # one per noun
MODULE_LINES, FUNCTION_LINES, NESTING, PARAMETERS, BY_POSITION = 300, 40, 3, 6, 4
STATEMENT_LINES, STATEMENT_DISTANCE = 25, 15
TEST_NAME_CHARACTERS = 70
MANY_PARAMETERS = {
    "cli/commands/submit.py submit": "typer wants a parameter per option",
    "cli/commands/chaos.py chaos": "likewise",
    "cli/commands/up.py up": "likewise",
}
SQL_ELSEWHERE = {
    "sandbox/servers/postgres.py": "makes the database that the models then live in",
    "chaos/queries.py": "only a run of chaos asks its own database these",
    "workers/dispatcher/wakeup.py": "LISTEN holds a connection of its own, outside every transaction",
}
SQL = re.compile(
    r"\bselect\s.+\sfrom\s|\binsert\s+into\s|\bupdate\s+\w+\s+set\s|\bdelete\s+from\s|\btruncate\s+table\b"
    r"|\b(create|alter|drop)\s+(table|index|database|view|type|function)\b|(?-i:^\s*(LISTEN|NOTIFY|COPY|VACUUM)\s)",
    re.IGNORECASE | re.DOTALL,
)
ROWS_BY_SQL = {
    "tests/support/rows.py": "the factories",
    "tests/integration/models/test_migrations.py": "rows of older tables, which no class describes",
    "tests/integration/models/test_query_plans.py": "100,000 jobs at once",
}
"""What writes rows for tests by SQL of its own."""
SQL_BUILDERS = frozenset({"text", "select", "insert", "update", "delete", "literal_column"})
WRITES_A_STATE = re.compile(r"\bUPDATE\s+(job|prediction)\b[^;]*?\bSET\b(?:(?!\bWHERE\b).)*?\bstate\s*=", re.DOTALL)

BLOCKS = (ast.If, ast.For, ast.While, ast.With, ast.Try, ast.TryStar, ast.Match, ast.AsyncFor, ast.AsyncWith)
Function = ast.FunctionDef | ast.AsyncFunctionDef


def list_modules(*packages: str) -> list[Path]:
    """Our Python files, by package."""
    return [path for package in packages or PRODUCT for path in sorted((ROOT / package).rglob("*.py"))]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def all_functions() -> Iterator[tuple[str, Function]]:
    """Every function with the words to find it by."""
    for path in list_modules():
        for node in ast.walk(parse(path)):
            if isinstance(node, Function):
                yield f"{name_of(path)} {node.name}", node


def count_lines(function: Function) -> int:
    """Lines of a function from its `def` on, its docstring included."""
    return (function.end_lineno or 0) - function.lineno + 1


def measure_nesting(node: ast.AST, depth: int = 0) -> int:
    """How deep blocks lie in blocks; an `elif` is as deep as its `if`, an inner function counts for itself."""
    deepest = depth
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function | ast.ClassDef | ast.Lambda):
            continue
        is_elif = isinstance(node, ast.If) and isinstance(child, ast.If) and node.orelse == [child]
        deepest = max(deepest, measure_nesting(child, depth + (isinstance(child, BLOCKS) and not is_elif)))
    return deepest


def list_parameters(function: Function) -> tuple[list[str], list[str]]:
    """Parameters that may be given by position, and all; without `self` and `cls`."""
    given = function.args
    positional = [each.arg for each in (*given.posonlyargs, *given.args) if each.arg not in {"self", "cls"}]
    return positional, [*positional, *(each.arg for each in given.kwonlyargs)]


def strings_of(path: Path) -> Iterator[str]:
    """The string literals of a module, docstrings left out."""
    tree = parse(path)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


@cache
def read_texts() -> dict[str, str]:
    """Every text file of the project by its path, as a fresh clone has it."""
    texts = {}
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [each for each in folders if each not in NOT_OURS and not each.endswith("_cache")]
        for path in (Path(folder) / file for file in files if file != ".env"):
            with contextlib.suppress(UnicodeDecodeError):
                texts[name_of(path)] = path.read_text(encoding="utf-8")
    return texts


@cache
def read_project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_rushes_has_no_flat_module_beyond_those_that_every_domain_uses() -> None:
    flat = {path.stem for path in (ROOT / "rushes").glob("*.py")}
    assert flat == FLAT | {"__init__"}


def test_a_folder_holds_at_most_twelve_modules() -> None:
    counts: Counter[str] = Counter()
    for path in list_modules():
        counts[name_of(path.parent)] += path.name != "__init__.py"
    assert {folder for folder, count in counts.items() if count > FOLDER_MODULES} == MANY_MODULES


def test_a_module_fits_in_300_lines() -> None:
    lengths = {name_of(path): len(path.read_text().splitlines()) for path in list_modules()}
    assert len(lengths) > 50
    assert {name: length for name, length in lengths.items() if length > MODULE_LINES} == {}


def test_a_class_name_stands_for_one_class() -> None:
    ours = [each for each in (*PRODUCT, "bench") if each != "rushes_client"]  # other programs import its names
    nodes = (node for path in list_modules(*ours) for node in ast.walk(parse(path)))
    classes = Counter(node.name for node in nodes if isinstance(node, ast.ClassDef))
    assert {name: count for name, count in classes.items() if count > 1} == {}


def test_a_function_fits_in_40_lines() -> None:
    lengths = {name: count_lines(function) for name, function in all_functions()}
    assert {name: length for name, length in lengths.items() if length > FUNCTION_LINES} == {}


def test_blocks_nest_at_most_three_deep() -> None:
    depths = {name: measure_nesting(function) for name, function in all_functions()}
    assert {name: depth for name, depth in depths.items() if depth > NESTING} == {}


def test_a_function_takes_at_most_six_parameters_and_four_by_position() -> None:
    many = {}
    for name, function in all_functions():
        positional, every = list_parameters(function)
        if len(every) > PARAMETERS or len(positional) > BY_POSITION:
            many[name] = every
    assert set(many) == set(MANY_PARAMETERS), many


def test_a_test_name_has_at_most_70_characters_and_a_subject() -> None:
    nodes = (node for path in list_modules("tests") for node in ast.walk(parse(path)))
    names = {node.name for node in nodes if isinstance(node, Function) and node.name.startswith("test_")}
    assert len(names) > 1000
    assert {name for name in names if len(name) > TEST_NAME_CHARACTERS} == set()
    assert {name for name in names if re.match(r"test_(it|its|is|what|who|whoever)_", name)} == set()


def test_every_module_begins_with_a_line_on_what_it_is_for() -> None:
    def is_documented(path: Path) -> bool:
        return bool((ast.get_docstring(parse(path)) or "").splitlines()[:1])

    assert [name_of(path) for path in list_modules(*PRODUCT, "alembic", "tests") if not is_documented(path)] == []


def test_alembic_is_a_folder_of_scripts_and_hides_no_library() -> None:
    assert not (ROOT / "alembic" / "__init__.py").exists()
    assert not list((ROOT / "alembic").rglob("__init__.py"))
    spec = importlib.util.find_spec("alembic")
    assert spec is not None
    assert spec.origin is not None
    assert not Path(spec.origin).is_relative_to(ROOT / "alembic")


def test_models_are_ours() -> None:
    assert Path(models.__file__).parent == ROOT / "models"


def test_the_packages_of_the_wheel_are_listed_one_by_one() -> None:
    wheel = read_project()["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert sorted(wheel["packages"]) == sorted(PACKAGES)
    assert all((ROOT / package / "__init__.py").is_file() for package in PACKAGES)


def test_the_wheel_holds_our_packages_and_no_scripts_or_tests(tmp_path: Path) -> None:
    (built,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    folders = {name.split("/")[0] for name in ZipFile(built).namelist()}
    assert {folder for folder in folders if not folder.endswith(".dist-info")} == set(PACKAGES)


def test_this_project_cannot_be_uploaded_by_accident() -> None:
    assert "Private :: Do Not Upload" in read_project()["project"]["classifiers"]


def test_only_the_models_spell_sql() -> None:
    spelled = {
        name_of(path)
        for path in list_modules("api", "chaos", "cli", "rushes", "rushes_client", "sandbox", "stack", "workers")
        if any(SQL.search(words) for words in strings_of(path))
    }
    assert spelled == set(SQL_ELSEWHERE)


def test_tests_write_rows_by_the_factories() -> None:
    ours = "|".join(models.Base.metadata.tables)
    writes = re.compile(rf"\b(insert\s+into|update)\s+(({ours})\b|$)", re.IGNORECASE)  # or a table to be filled in
    writers = {name_of(path) for path in list_modules("tests") if any(map(writes.search, strings_of(path)))}
    assert writers == set(ROWS_BY_SQL)


def test_only_the_models_build_sql() -> None:
    builders = {
        f"{name_of(path)}: {alias.name}"
        for path in list_modules("api", "chaos", "cli", "rushes", "rushes_client", "sandbox", "stack", "workers")
        for node in ast.walk(parse(path))
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "sqlalchemy"
        for alias in node.names
        if alias.name in SQL_BUILDERS
    }
    assert builders == set()


def list_statements() -> Iterator[tuple[str, ast.Assign, list[Function]]]:
    """Each SQL statement of the models by its place and name, with the functions that run it."""
    for path in (each for folder in ("transitions", "queries") for each in (ROOT / "models" / folder).rglob("*.py")):
        functions = [node for node in parse(path).body if isinstance(node, Function)]
        for node in parse(path).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("statement("):
                name = ast.unparse(node.targets[0])
                users = [each for each in functions if any(ast.unparse(x) == name for x in ast.walk(each))]
                yield f"{name_of(path)} {name}", node, users


def test_a_statement_has_at_most_25_lines_and_stands_above_its_function() -> None:
    statements = list(list_statements())
    assert len(statements) > 100
    long = {name for name, node, _ in statements if (node.end_lineno or 0) - node.lineno > STATEMENT_LINES + 1}
    far = {
        name
        for name, node, users in statements
        if not any(0 <= each.lineno - (node.end_lineno or 0) <= STATEMENT_DISTANCE for each in users)
    }
    assert (long, far) == (set(), set())


def test_no_transition_reads_the_history() -> None:
    reads = re.compile(r"(?<!DELETE )\b(FROM|JOIN)\s+event\b")
    readers = {name_of(path) for path in list_modules("models/transitions") if any(map(reads.search, strings_of(path)))}
    assert readers == set()


def assigns_a_state(node: ast.AST) -> bool:
    """Whether this is `job.state = ...` or the like."""
    if not isinstance(node, ast.Assign):
        return False
    return any(ast.unparse(target) in {"job.state", "prediction.state"} for target in node.targets)


def test_only_the_transitions_write_a_state() -> None:
    writers = {
        name_of(path)
        for path in list_modules()
        if any(map(assigns_a_state, ast.walk(parse(path)))) or any(map(WRITES_A_STATE.search, strings_of(path)))
    }
    assert writers
    assert {name for name in writers if not name.startswith("models/transitions/")} == set()


def test_the_lock_names_versions_and_hashes_and_no_place() -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    packages = [line for line in lines if re.match(r"\w", line)]
    assert len(packages) > 50
    assert [line for line in lines if "://" in line or " @ " in line or line.startswith("-")] == []
    assert [line for line in packages if not re.match(r"[\w.\[\]-]+==\S+( ;.*)? \\$", line)] == []
    hashed = [line for line in lines if line.strip().startswith("--hash=sha256:")]
    assert len(hashed) >= len(packages)


def test_no_file_names_a_place_on_this_machine() -> None:
    common = {Path("/"), Path("/root"), Path("/home"), Path(tempfile.gettempdir())}
    places = {place for place in (ROOT, ROOT.parent, Path.home(), Path(sys.base_prefix)) if place not in common}
    whole = re.compile(r"(?<![\w.~}/-])(" + "|".join(re.escape(str(place)) for place in places) + r")(?=[/\"'\s]|$)")
    found = {name: match.group() for name, words in read_texts().items() if (match := whole.search(words))}
    assert found == {}


def test_every_setting_is_documented_and_no_other() -> None:
    variables = {
        field.validation_alias if isinstance(field.validation_alias, str) else f"RUSHES_{name.upper()}"
        for name, field in Settings.model_fields.items()
    }
    words = (ROOT / "docs" / "settings.md").read_text()
    documented = re.findall(r"^\| `([A-Z_]+)` \|", words, re.MULTILINE)
    assert sorted(documented) == sorted(variables)


def test_a_documented_default_is_the_default() -> None:
    words = (ROOT / "docs" / "settings.md").read_text()
    documented = dict(re.findall(r"^\| `RUSHES_([A-Z_]+)` \| `([^`]+)` \|", words, re.MULTILINE))
    documented.pop("DATABASE_DIRECT_URL")  # another setting's value
    defaults = {name: Settings.model_fields[name.lower()].get_default() for name in documented}
    assert len(documented) > 15
    assert documented == {
        name: str(value).lower() if value is False else f"{value}" for name, value in defaults.items()
    }


def test_no_file_speaks_of_a_setting_that_is_none() -> None:
    known = {f"RUSHES_{name.upper()}" for name in Settings.model_fields}
    spoken = {
        (name, variable)
        for name, words in read_texts().items()
        if not name.startswith("tests/")
        for variable in re.findall(r"\bRUSHES_[A-Z_]*[A-Z]\b(?!_)", words)
    }
    assert {(name, variable) for name, variable in spoken if variable not in known} == set()


def test_only_the_settings_read_settings_from_the_environment() -> None:
    reads = re.compile(r"(environ(\.get)?[\[(]|getenv\()\s*[\"'](RUSHES|WAVESPEED)_")
    readers = {name_of(path) for path in list_modules() if reads.search(path.read_text())}
    only_names_the_key = "cli/commands/demo_run.py"  # it says that it leaves the key alone
    knows_no_settings = "rushes_client/client.py"  # it is imported by other programs
    assert readers <= {"rushes/settings.py", only_names_the_key, knows_no_settings}


@pytest.mark.parametrize("contract", [each["name"] for each in read_project()["tool"]["importlinter"]["contracts"]])
def test_the_floors_are_kept(contract: str, lint: str) -> None:
    assert f"{contract} KEPT" in lint, lint


@pytest.fixture(scope="module")
def lint() -> str:
    """What import-linter says of the whole project."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr
