"""A mutant is caught when a test fails of it, and by nothing else."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.mutants.__main__ import run
from tests.mutants.mutant import Edit, Mutant, StaleError
from tests.mutants.runner import Copy, CopyError

SHOP = "services/shop.py"
PROJECT = {
    "pyproject.toml": "[tool.pytest.ini_options]\naddopts = '--import-mode=importlib -p no:schemathesis'\n",
    "services/__init__.py": "",
    SHOP: "def price():\n    return 2\n",
    "tests/test_shop.py": """
import pytest
from services.shop import price

@pytest.fixture
def bought():
    assert price() < 5
    return price()

def test_price(bought):
    assert bought == 2
""",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project that has the name of this one's package."""
    root = tmp_path / "root"
    for name, text in PROJECT.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Copy:
    return Copy(root, tmp_path)


def mutant(new: str, old: str = "return 2", test: str = "tests/test_shop.py::test_price") -> Mutant:
    return Mutant("R-00: a price is 2", new, (Edit(SHOP, old, new),), (test,))


def test_every_mutant_that_fails_a_test_is_caught(root: Path, copy: Copy, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([mutant("return 3"), mutant("return 4")], copy) == 0

    told = capsys.readouterr().out
    assert "1/2 R-00: a price is 2 | return 3 … caught" in told
    assert "test_price: assert 3 == 2" in told
    assert "test_price: assert 4 == 2" in told
    assert told.endswith("caught 2 of 2\n")
    assert (root / SHOP).read_text() == PROJECT[SHOP]


def test_a_mutant_that_fails_no_test_is_not_caught(copy: Copy, capsys: pytest.CaptureFixture[str]) -> None:
    verdicts = {
        "return 2.0": "test_price has passed",
        "return": "test_price has given no verdict, pytest ended with 1",  # its fixture fails
        "retrun 3": "test_price has given no verdict, pytest ended with 4",  # it cannot be imported
    }
    assert run([mutant(new) for new in verdicts], copy) == 1

    told = capsys.readouterr().out
    for new, verdict in verdicts.items():
        assert verdict in told.partition(f"| {new} … MISSED")[2].partition(" | ")[0]
    assert told.endswith("caught 0 of 3\n")


def test_a_mutant_is_caught_by_all_of_its_tests_or_not_at_all(root: Path, tmp_path: Path) -> None:
    with (root / "tests" / "test_shop.py").open("a") as tests:
        tests.write("\n\ndef test_nothing():\n    pass\n")
    both = replace(mutant("return 3"), tests=("tests/test_shop.py::test_price", "tests/test_shop.py::test_nothing"))

    assert run([both], Copy(root, tmp_path)) == 1


def test_a_stale_mutant_ends_everything_before_a_test_is_run(copy: Copy, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(StaleError, match=r"R-00: a price is 2: return 3: services/shop\.py has it 0 times"):
        run([mutant("return 3", old="return 1")], copy)
    assert capsys.readouterr().out == ""


def test_tests_that_fail_without_a_mutant_end_everything(copy: Copy, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([mutant("return 3", test="tests/test_shop.py::test_missing")], copy) == 1

    assert "they do not pass" in capsys.readouterr().out


def test_modules_that_are_not_imported_from_the_copy_are_told(copy: Copy) -> None:
    copy.check_imports([SHOP])
    with pytest.raises(CopyError, match="does not import the copy"):
        copy.check_imports(["services/chassis/errors.py"])
