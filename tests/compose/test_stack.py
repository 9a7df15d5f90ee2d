"""What is read of compose.yaml, and what is said about a file that cannot be read."""

from pathlib import Path

import pytest

from compose.stack import read_stack
from services.chassis.settings import StartError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "compose.yaml"


def test_variables_have_the_values_of_env_unless_the_environment_has_others(file: Path) -> None:
    file.write_text('services: {one: {command: ["${A}-${B}"], x-native: {}}}')
    file.with_name(".env").write_text("# ports\n\nA=1\nB=2\n")

    assert read_stack(file, {"B": "3"}).services["one"].command == ["1-3"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("services: {one: {command: [run, '${MISSING:?make it}'], x-native: {}}}", "^MISSING is not set: make it$"),
        ("services: {one: {command: ['${MISSING}'], x-native: {}}}", "^MISSING is not set: it is a variable"),
        ("services: [", "while parsing"),
        ("services: {one: {command: [run]}}", "services.one.x-native: Field required$"),
        ("services: {one: {x-native: {redy: a}}}", r"services.one.x-native.redy: Extra inputs"),
        ("services: {one: {x-native: {ready: 'ftp://a'}}}", r"services.one.x-native.ready: String should match"),
        (
            "services: {one: {stop_grace_period: 1m, x-native: {}}}",
            "must be a number of seconds, as in 10s$",
        ),
        ("services: {one: {stop_signal: SIGKILL, x-native: {}}}", "stop_signal: Input should be 'SIGTERM' or 'SIGINT'"),
    ],
)
def test_a_mistake_is_told_with_its_place(file: Path, content: str, told: str) -> None:
    file.write_text(content)

    with pytest.raises(StartError, match=told):
        read_stack(file, {})


def test_all_mistakes_are_told_at_once_and_no_value(file: Path) -> None:
    file.write_text("services: {one: {restart: secret}, two: {x-native: {ready: 'secret://'}}}")

    with pytest.raises(StartError) as refused:
        read_stack(file, {})
    assert str(refused.value).count("\n") == 2
    assert "secret" not in str(refused.value)


def test_a_file_that_is_missing_is_told(file: Path) -> None:
    with pytest.raises(StartError, match=r"compose.yaml: .*No such file"):
        read_stack(file, {})
