"""The runner keeps processes running in the order in which they need each other: small ones, started as users do it."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import count
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest
import yaml

from compose.native import processes
from compose.run import locked, port_variables, ready_text
from compose.stack import Stack
from services.chassis.settings import StartError
from tests.marketplace import ROOT, free_ports
from tests.processes import is_alive
from tests.stack import Runner, running
from tests.waiting import wait_until

SERVER = """
import os, socket, sys
print("up", os.getpid(), flush=True)
with socket.create_server(("127.0.0.1", int(sys.argv[1].rpartition(":")[2]))) as server:
    while True:
        connection, _ = server.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(b"HTTP/1.1 200 OK")
"""
DEAF = "trap '' INT TERM; echo up $$; while :; do sleep 0.1; done"
STUBBORN = "trap 'echo I stay' INT TERM; echo up $$; while :; do sleep 0.1; done"

Services = dict[str, dict[str, Any]]
Run = Callable[..., AbstractContextManager[Runner]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs the stack of these services, with `settings` in its environment."""
    numbers = count()

    def run_services(services: Services, **settings: str) -> AbstractContextManager[Runner]:
        file, log = tmp_path / "compose.yaml", tmp_path / f"log-{next(numbers)}"
        file.write_text(yaml.safe_dump({"services": services}, sort_keys=False))
        return running(file, log, STACK_FOLDER=str(tmp_path / "stack"), **settings)

    return run_services


def shell(program: str, *after: str, **more: Any) -> dict[str, Any]:
    """A service that is a program of the shell and is restarted."""
    return service(["/bin/sh", "-c", program], *after, **more)


def server(port: int, *after: str) -> dict[str, Any]:
    """A service that is ready when it answers at a port."""
    ready = {"ready": f"http://0.0.0.0:{port}/"}
    return service(["python", "-ISc", SERVER, f"0.0.0.0:{port}"], *after, **{"x-native": ready})


def service(command: list[str], *after: str, **more: Any) -> dict[str, Any]:
    needed = {name: {"condition": "service_healthy"} for name in after}
    return {"command": command, "restart": "unless-stopped", "depends_on": needed, "x-native": {}, **more}


def pid_of(name: str, log: str) -> int:
    """The process that has said `up` last."""
    return int(re.findall(rf"^{name} +\| up (\d+)$", log, re.MULTILINE)[-1])


def port() -> int:
    [port] = free_ports(1)
    return port


def test_a_process_starts_when_those_that_it_needs_answer_or_have_done_their_work(run: Run, tmp_path: Path) -> None:
    first, gate = port(), tmp_path / "gate"
    waits = f"echo waits; until [ -e {gate} ]; do sleep 0.01; done"
    services = {
        "last": shell("echo up; exec sleep 60", "job"),
        "job": {**shell(f"{waits}; echo works", "server"), "restart": "no"},
        "server": server(first),
    }
    with run(services) as runner:
        before = runner.told("job    | waits")
        gate.touch()
        log = runner.told("last   | up")

    assert before.index("server | up") < before.index("] server is ready") < before.index("job    | waits")
    assert "last   | up" not in before
    assert log.index("job    | works") < log.index("] job has done its work") < log.index("last   | up")
    assert re.findall(r"^\[(\d)/3\]", log, re.MULTILINE) == ["1", "2", "3"]


def test_what_is_killed_is_started_again_after_longer_and_longer_pauses(run: Run) -> None:
    with run({"server": server(port()), "other": shell("echo other; exec sleep 60")}) as runner:
        runner.told("Ctrl-C stops them all")
        for told in ("0.2 s", "0.4 s", "0.8 s"):
            os.kill(pid_of("server", runner.log), signal.SIGKILL)
            runner.told(f"server was killed by SIGKILL, and is started again in {told}")
            times = runner.log.count("is started again")
            wait_until(lambda times=times: runner.log.count("server is ready again") == times)  # type: ignore[misc]

    assert runner.log.count("other  | other") == 1


def test_a_work_that_fails_is_done_again(run: Run, tmp_path: Path) -> None:
    fails_once = f"[ -e {tmp_path}/done ] || {{ touch {tmp_path}/done; exit 1; }}"
    with run({"job": {**shell(fails_once), "restart": "no"}}) as runner:
        log = runner.told("Ctrl-C stops them all")

    assert "job has ended with exit code 1, and is started again in 0.2 s" in log


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_ends_a_process_when_those_that_need_it_are_gone(run: Run, number: signal.Signals) -> None:
    slow = "trap 'sleep 0.2; echo bye; exit' TERM; echo up; while :; do sleep 0.01; done"
    quick = "trap 'echo bye; exit' INT; echo up; while :; do sleep 0.01; done"
    services = {
        "base": shell(quick, stop_signal="SIGINT"),
        "middle": shell(slow, "base"),
        "top": shell(slow, "middle"),
        "beside": shell(slow, "middle"),
    }
    with run(services) as runner:
        runner.told("Ctrl-C stops them all")
        wait_until(lambda: runner.log.count("| up") == len(services))
        assert runner.stop(number) == 0

    gone = re.findall(r"^(\w+) +\| bye$", runner.log, re.MULTILINE)
    assert {*gone[:2]} == {"top", "beside"}
    assert gone[2:] == ["middle", "base"]
    assert "started again" not in runner.log


def test_a_stop_during_the_start_starts_nothing_more(run: Run) -> None:
    never = {"ready": f"http://0.0.0.0:{port()}/"}
    services = {
        "slow": shell("echo up; exec sleep 60", **{"x-native": never}),
        "failing": shell("echo fails; exit 1"),
        "last": shell("echo up", "slow"),
    }
    with run(services) as runner:
        runner.told("slow    | up")
        runner.told("failing has ended with exit code 1")
        assert runner.stop() == 0

    assert "last    |" not in runner.log


def test_who_does_not_stop_in_time_is_killed(run: Run) -> None:
    with run({"stubborn": shell(STUBBORN, stop_grace_period="2s")}) as runner:
        runner.told("| up")
        assert runner.stop() == 0

    assert "stubborn | I stay" in runner.log


def test_a_second_ctrl_c_kills_at_once(run: Run) -> None:
    services = {
        "base": shell(STUBBORN, stop_grace_period="60s"),
        "top": shell(STUBBORN, "base", stop_grace_period="60s"),
    }
    with run(services) as runner:
        runner.told("top  | up")
        runner.program.process.send_signal(signal.SIGINT)
        runner.told("top  | I stay")
        assert runner.stop() == 0

    assert "base | I stay" not in runner.log


def test_what_a_process_leaves_behind_ends_with_it(run: Run) -> None:
    with run({"parent": shell("sleep 60 & echo left $!; exec sleep 60")}) as runner:
        left = int(runner.told("parent | left").rpartition("| left ")[2].split()[0])
        assert is_alive(left)
        assert runner.stop() == 0

    assert not is_alive(left)


def test_processes_end_with_a_runner_that_is_killed(run: Run) -> None:
    with run({"deaf": shell(DEAF), "server": server(port())}) as runner:
        log = runner.told("Ctrl-C stops them all")
        runner.told("deaf   | up")
        runner.program.process.kill()
        pids = {name: pid_of(name, runner.log) for name in ("deaf", "server")}
        wait_until(lambda: not any(map(is_alive, pids.values())))

    for name, pid in pids.items():
        assert re.search(rf"\] {name} is ready after \d+\.\d s \(process {pid}\)$", log, re.MULTILINE)


def test_each_line_has_the_name_of_who_says_it_whatever_it_says(run: Run, tmp_path: Path) -> None:
    said = tmp_path / "said"
    says = "printf 'caf\\351\\n\\nno end'; head -c 300000 /dev/zero | tr '\\0' x; echo; printf last"
    one = shell(f"{says}; echo >> {said}; exec sleep 60", deploy={"replicas": 2})
    with run({"one": one, "long-name": shell("echo up; exec sleep 60")}) as runner:
        wait_until(lambda: said.exists() and said.read_text() == "\n\n")
        runner.told("long-name | up\n")
        assert runner.stop() == 0

    lines = [line.rstrip() for line in runner.log.splitlines() if line.startswith("one-1 ")]
    assert lines[:2] == ["one-1     | caf\\xe9", "one-1     |"]
    assert lines[2].startswith("one-1     | no endxxx")
    assert [line.count("x") for line in lines[2:]] == [300_000, 0]
    assert lines[3] == "one-1     | last"


def test_a_line_that_never_ends_is_shown_in_pieces(run: Run) -> None:
    with run({"endless": shell("head -c 3000000 /dev/zero | tr '\\0' x; exec sleep 60")}) as runner:
        wait_until(lambda: runner.log.count("x") > 2_000_000)

    pieces = [line for line in runner.log.splitlines() if line.count("x") > 1000]
    assert len(pieces) >= 2
    assert all(line.startswith("endless | x") for line in pieces)


def test_all_ports_that_are_taken_are_told_before_anything_starts(run: Run, tmp_path: Path) -> None:
    first = next(port for port in free_ports(80) if {port + 10} <= {*free_ports(80)})
    (tmp_path / ".env").write_text(f"ONE_PORT={first}\nTWO_PORT={first}\nTHREE_PORT=1\n")
    services = {
        "one": shell("echo up; : 0.0.0.0:${ONE_PORT}", deploy={"replicas": 2}),
        "two": shell("echo up; : two:${THREE_PORT}"),
    }
    other = port()
    with (
        socket.create_server(("127.0.0.1", first + 10)),
        socket.create_server(("127.0.0.1", other)),
        run(services, THREE_PORT=str(other), TWO_PORT=str(other + 1)) as runner,
    ):
        assert runner.program.exit_code(20) == 2

    taken = "is taken or not ours: stop what listens there or set"
    assert runner.log.splitlines() == [
        "cannot start:",
        f"127.0.0.1:{first + 10} of one-2 {taken} ONE_PORT",
        f"127.0.0.1:{other} of two {taken} THREE_PORT",
    ]


def test_two_processes_that_want_one_port_are_told(run: Run, tmp_path: Path) -> None:
    wanted = port()
    (tmp_path / ".env").write_text(f"PORT={wanted}\n")
    with run({"one": server(wanted), "two": server(wanted)}) as runner:
        assert runner.program.exit_code(20) == 2

    assert f"127.0.0.1:{wanted} of two is taken or not ours: stop what listens there or set PORT" in runner.log


def test_a_variable_that_is_not_set_is_told(run: Run) -> None:
    with run({"one": shell("${MISSING:?run it first}")}) as runner:
        assert runner.program.exit_code(20) == 2

    assert runner.log == "cannot start: MISSING is not set: run it first\n"


def test_all_that_is_missing_is_told_at_once(run: Run) -> None:
    services = {
        "one": shell("echo up", **{"x-native": {"needs": ["sh", "no-such-program", "README.md"]}}),
        "two": shell("echo up", **{"x-native": {"needs": ["no-such-program", "no/such/file"]}}),
    }
    with run(services) as runner:
        assert runner.program.exit_code(20) == 2

    assert runner.log.splitlines() == [
        "cannot start:",
        "there is no no-such-program, for one and two",
        "there is no no/such/file, for two",
        "run `make setup setup-stack`",
    ]


def test_a_folder_has_one_runner_at_a_time(run: Run, tmp_path: Path) -> None:
    services = {"one": shell("echo up; exec sleep 60")}
    with run(services) as first:
        first.told("one | up")
        with run(services) as second:
            assert second.program.exit_code(20) == 2
        assert first.stop() == 0

    assert f"the stack of {tmp_path / 'stack'} runs already: stop it or set STACK_FOLDER" in second.log


def test_who_refuses_his_settings_at_the_start_ends_the_run(run: Run) -> None:
    never = {"ready": f"http://0.0.0.0:{port()}/"}
    services = {
        "fine": shell("exec sleep 60"),
        "wrong": shell("echo PORT is not set; exit 2", "fine", **{"x-native": never}),
    }
    with run(services) as runner:
        assert runner.program.exit_code(20) == 1

    assert "wrong | PORT is not set\nwrong refuses its settings: see its last lines above" in runner.log
    assert "everything has stopped" in runner.log


def test_the_stack_stops_when_nobody_reads_what_it_says(tmp_path: Path) -> None:
    file = tmp_path / "compose.yaml"
    talks = "echo up $$; while sleep 0.05; do echo more; done"
    file.write_text(yaml.safe_dump({"services": {"one": shell(talks)}}))
    command = (sys.executable, "-m", "compose.run", "--file", file)
    environment = {**os.environ, "STACK_FOLDER": str(tmp_path / "stack")}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=PIPE, stderr=PIPE, text=True) as runner:
        assert runner.stdout is not None
        assert runner.stderr is not None
        try:
            up = next(line for line in runner.stdout if "| up" in line)
            runner.stdout.close()
            assert runner.wait(20) == 0
            assert runner.stderr.read() == ""
        finally:
            runner.kill()

    assert not is_alive(pid_of("one", up))


def test_temporary_folders_are_empty_at_each_start_and_volumes_are_kept(run: Run) -> None:
    counts = "for f in /kept /gone; do echo $f >> $f/lines; done; echo up $(wc -l < /kept/lines) $(wc -l < /gone/lines)"
    one = shell(f"{counts}; exec sleep 60", volumes=["kept:/kept"], tmpfs=["/gone"])
    for start in (1, 2):
        with run({"one": one}) as runner:
            runner.told(f"one | up {start} 1")
            assert runner.stop() == 0


def test_a_process_knows_nothing_but_what_the_file_says(run: Run) -> None:
    with run({"one": shell("env; exec sleep 60", environment={"SAID": "yes"})}, UNSAID="yes") as runner:
        runner.told("one | SAID=yes")
        assert runner.stop() == 0

    names = {*re.findall(r"^one \| (\w+)=", runner.log, re.MULTILINE)}
    assert names <= {"SAID", "PATH", "HOME", "JAVA_HOME", "LANG", "TZ", "PWD", "_", "SHLVL", "OLDPWD"}


def test_who_starts_the_stack_learns_where_to_look_and_what_is_absent(tmp_path: Path) -> None:
    shows = {"shows": "The shop, http://0.0.0.0:80/"}
    services = {
        "one": service(["run"], deploy={"replicas": 2}, **{"x-native": shows}),
        "two": service(["run"], **{"x-native": {"shows": "It, http://0.0.0.0:90/"}}),
        "three": service(["run"], **{"x-native": {"absent": "three is a container only"}}),
    }
    stack = Stack.model_validate({"services": services})
    text = ready_text(stack, processes(stack, tmp_path, {}), tmp_path, 12.34)

    assert "  The shop   http://127.0.0.1:80/\n  It         http://127.0.0.1:90/\n\n" in text
    assert "  3 processes are ready after 12.3 s." in text
    assert "  three is a container only.\n" in text
    assert str(tmp_path) in text


def test_ports_that_are_none_are_told(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("ONE_PORT=x\nTWO_PORT=1\nTHREE_PORT=\n")

    with pytest.raises(StartError, match=r"^ONE_PORT=x is no port\nTHREE_PORT= is no port$"):
        port_variables(tmp_path / "compose.yaml")


def test_a_folder_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with (
        pytest.raises(StartError, match="file/folder: Not a directory: set STACK_FOLDER"),
        locked(tmp_path / "file/folder"),
    ):
        pass
