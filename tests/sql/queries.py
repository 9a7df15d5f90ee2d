"""The queries of the services, as the generated modules have them."""

import importlib
import inspect
import pkgutil
from functools import cache
from types import ModuleType

from tests.marketplace import ROOT

CLASSES = ("AsyncReader", "AsyncQuerier")


def services() -> list[str]:
    """The services that have queries."""
    return sorted(folder.name.removesuffix("_db") for folder in (ROOT / "gen" / "sql").glob("*_db"))


@cache
def queries(service: str) -> dict[str, str]:
    """The statement of each query, by the name of its method."""
    package = importlib.import_module(f"{service}_db")
    modules = [
        importlib.import_module(f"{package.__name__}.{each.name}") for each in pkgutil.iter_modules(package.__path__)
    ]
    return {method: getattr(module, method.upper()) for module in modules for method in _methods(module)}


def _methods(module: ModuleType) -> set[str]:
    classes = [getattr(module, name) for name in CLASSES if hasattr(module, name)]
    return {name for each in classes for name, _ in inspect.getmembers(each, inspect.isfunction) if name[0] != "_"}


def named_query(test: str, service: str) -> str | None:
    """The query that a test is named for: `test_forget_requests_...` is about `forget_requests`."""
    return max((query for query in queries(service) if test.startswith(f"test_{query}_")), key=len, default=None)
