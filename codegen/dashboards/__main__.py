"""Writes dashboards, rules and alerts into compose/: `python -m codegen.dashboards`."""

from pathlib import Path

from codegen.dashboards.alerts import ALERTS
from codegen.dashboards.boards import BOARDS
from codegen.dashboards.grafana import text
from codegen.dashboards.rules import RECORDINGS, alerts_file, recordings_file

COMPOSE = Path(__file__).parents[2] / "compose"


def files() -> dict[Path, str]:
    """What is written, by its path within compose/."""
    boards = {Path("grafana/dashboards", f"{board.uid}.json"): text(board) for board in BOARDS}
    rules = Path("prometheus/rules")
    return boards | {
        rules / "recordings.yml": recordings_file(RECORDINGS),
        rules / "alerts.yml": alerts_file(ALERTS),
    }


def write(folder: Path) -> None:
    """Writes them all into a folder, and removes what was made there and is made no more."""
    made = files()
    for parent in {path.parent for path in made}:
        (folder / parent).mkdir(parents=True, exist_ok=True)
        for old in (folder / parent).iterdir():
            old.unlink()
    for path, content in made.items():
        (folder / path).write_text(content)


if __name__ == "__main__":
    write(COMPOSE)
