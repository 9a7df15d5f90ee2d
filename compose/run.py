"""The whole stack without containers, each part a process: `python -m compose.run`."""

import argparse
import asyncio
import fcntl
import os
import shutil
import signal
import socket
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from asyncio.subprocess import Process as Child
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from functools import partial
from itertools import cycle
from pathlib import Path

from compose.health import is_ready
from compose.native import HOST, Process, processes
from compose.stack import FILE, FOLDER, PORTS, Stack, read_env, read_stack, stack_folder, variables
from services.chassis.lifecycle import run_to_exit, stop_on_signal
from services.chassis.settings import StartError

ROOT = FOLDER.parent

ENDS_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")
"""A program that starts another one, which is killed when we end, however that happens."""
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 3.0
SETTLED_SECONDS = 30
"""Who has lived as long as this starts again after the first pause."""
POLL_SECONDS = 0.1
REMINDER_SECONDS = 10
LAST_WORDS_SECONDS = 1
"""How long the output of a process is read on that somebody else still holds open."""
LINE_LENGTH = 2**20
"""What is longer is shown as several lines."""
WRONG_SETTINGS = 2
"""The exit code of who is told something that he cannot understand."""

COLOURS = ("36", "33", "32", "35", "34", "96", "93", "92", "95", "94")

READY = """
{places}

  {count} processes are ready after {seconds:.1f} s. Ctrl-C stops them all.
  `make token USER=1` prints a token for Swagger UI: press Authorize there.
  The data are in {folder} and are still there at the next start.
{absent}
"""


class Console:
    """Standard output, where each line of a process has its name before it. When nobody reads it any more, it says so
    by the event.
    """

    def __init__(self, members: Sequence[Process], gone: asyncio.Event) -> None:
        self._width = max(len(member.name) for member in members)
        services = dict.fromkeys(member.service for member in members)
        self._colours = dict(zip(services, cycle(COLOURS), strict=False)) if sys.stdout.isatty() else {}
        self._gone = gone

    def tell(self, text: str) -> None:
        """Shows what the runner has to say."""
        self._write(f"{text}\n".encode())

    async def show(self, member: Process, output: asyncio.StreamReader) -> None:
        """Shows what a process says, as it says it, until its end."""
        prefix = self._prefix(member)
        rest = b""
        while chunk := await output.read(LINE_LENGTH):
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) >= LINE_LENGTH:
                lines, rest = [*lines, rest], b""
            self._write(b"".join(prefix + line + b"\n" for line in lines))
        if rest:
            self._write(prefix + rest + b"\n")

    def _prefix(self, member: Process) -> bytes:
        name = f"{member.name:{self._width}} | "
        colour = self._colours.get(member.service)
        return (f"\033[{colour}m{name}\033[0m" if colour else name).encode()

    def _write(self, content: bytes) -> None:
        try:
            sys.stdout.buffer.write(content)
            sys.stdout.flush()
        except OSError:
            self._gone.set()


class Runner:
    """Runs processes in the order in which they need each other, and each of them again when it ends."""

    def __init__(self, members: Sequence[Process], console: Console, stop: asyncio.Event) -> None:
        self._members = members
        self._console = console
        self._stop = stop
        self._ready = {member.name: asyncio.Event() for member in members}
        self._lives: dict[str, asyncio.Task[None]] = {}
        self._children: dict[str, Child] = {}
        self._refused = False

    async def run(self, ready: Callable[[float], str]) -> int:
        """Runs them until a stop, or until one of them refuses its settings; gives the exit code.

        When all are ready for the first time, it shows this text, which is told how many seconds it took.
        """
        async with asyncio.TaskGroup() as group:
            self._lives = {member.name: group.create_task(self._live(member)) for member in self._members}
            telling = [group.create_task(self._announce(ready)), group.create_task(self._remind())]
            await self._stop.wait()
            for task in telling:
                task.cancel()
            await self._end_all()
        return 1 if self._refused else 0

    async def _live(self, member: Process) -> None:
        """Starts it when what it needs is ready, and again whenever it ends."""
        for needed in self._of_services(member.after):
            await self._ready[needed.name].wait()
        pause = FIRST_PAUSE_SECONDS
        while not self._stop.is_set():
            began = time.monotonic()
            code = await self._run_once(member)
            if self._stop.is_set() or self._is_over(member, code, began):
                return
            if time.monotonic() - began > SETTLED_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            self._console.tell(f"{member.name} {described(code)}, and is started again in {pause} s")
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def _run_once(self, member: Process) -> int:
        """Runs it to its end; gives the exit code, negative if it is a signal."""
        async with running(member, self._console) as child, asyncio.TaskGroup() as group:
            self._children[member.name] = child
            watching = group.create_task(self._watch(member))
            code = await child.wait()
            watching.cancel()
        return code

    async def _watch(self, member: Process) -> None:
        """Tells when it is ready. Who has no URL is ready as soon as it runs, or has done its work."""
        if member.restart == "no":
            return
        began = time.monotonic()
        while member.ready and not await is_ready(member.ready):  # noqa: ASYNC110  it is another process
            await asyncio.sleep(POLL_SECONDS)
        self._tell_ready(member, began)

    def _is_over(self, member: Process, code: int, began: float) -> bool:
        """Whether it is not started again: it has done its work, or refuses what it was told."""
        if member.restart == "no" and code == 0:
            self._tell_ready(member, began)
            return True
        if code == WRONG_SETTINGS and not self._ready[member.name].is_set():
            self._console.tell(f"{member.name} refuses its settings: see its last lines above")
            self._refused = True
            self._stop.set()
            return True
        return False

    def _tell_ready(self, member: Process, began: float) -> None:
        seconds, pid = time.monotonic() - began, self._children[member.name].pid
        if self._ready[member.name].is_set():
            self._console.tell(f"{member.name} is ready again after {seconds:.1f} s (process {pid})")
            return
        self._ready[member.name].set()
        count, total = sum(ready.is_set() for ready in self._ready.values()), len(self._members)
        what = "has done its work" if member.restart == "no" else "is ready"
        self._console.tell(
            f"[{count:{len(str(total))}}/{total}] {member.name} {what} after {seconds:.1f} s (process {pid})"
        )

    async def _announce(self, text: Callable[[float], str]) -> None:
        began = time.monotonic()
        for ready in self._ready.values():
            await ready.wait()
        self._console.tell(text(time.monotonic() - began))

    async def _remind(self) -> None:
        """Tells from time to time which processes are not ready."""
        while missing := [name for name, ready in self._ready.items() if not ready.is_set()]:
            await asyncio.sleep(REMINDER_SECONDS)
            if still := [name for name in missing if not self._ready[name].is_set() and name in self._children]:
                self._console.tell(f"not ready yet: {', '.join(still)}")

    async def _end_all(self) -> None:
        """Stops each process when those that need it are gone; another Ctrl-C kills what is left."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, self._kill_all)
        self._console.tell("everything stops now; Ctrl-C kills what is left")
        await asyncio.gather(*(self._end(member) for member in self._members))
        self._console.tell("everything has stopped")

    async def _end(self, member: Process) -> None:
        users = [self._lives[user.name] for user in self._members if member.service in user.after]
        if users:
            await asyncio.wait(users)
        self._lives[member.name].cancel()
        await asyncio.wait([self._lives[member.name]])

    def _kill_all(self) -> None:
        for child in self._children.values():
            if child.returncode is None:
                kill_group(child)

    def _of_services(self, names: Sequence[str]) -> list[Process]:
        return [member for member in self._members if member.service in names]


@asynccontextmanager
async def running(member: Process, console: Console) -> AsyncIterator[Child]:
    """Starts a process, out of reach of a Ctrl-C, and shows what it says; ends it with the block, and all that it
    has started in its group.
    """
    make_folders(member)
    child = await asyncio.create_subprocess_exec(
        *ENDS_WITH_US,
        *member.command,
        cwd=ROOT,
        env=member.environment,
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=STDOUT,
        start_new_session=True,
    )
    assert child.stdout is not None
    showing = asyncio.create_task(console.show(member, child.stdout))
    try:
        yield child
    finally:
        await end(child, member)
        await asyncio.wait([showing], timeout=LAST_WORDS_SECONDS)
        showing.cancel()


def make_folders(member: Process) -> None:
    """Makes the folders of a process that are missing, and empties those that are temporary."""
    for folder in member.tmpfs:
        shutil.rmtree(folder, ignore_errors=True)
    for folder in (*member.tmpfs, *member.volumes):
        folder.mkdir(parents=True, exist_ok=True)


async def end(child: Child, member: Process) -> None:
    """Has it stop, and kills it when that takes too long."""
    try:
        if child.returncode is None:
            child.send_signal(member.stop_signal)
        await asyncio.wait_for(child.wait(), member.grace_seconds)
    except TimeoutError:
        pass
    finally:
        kill_group(child)
        await child.wait()


def kill_group(child: Child) -> None:
    """Kills it, if it runs, and what it has left behind."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)


def described(code: int) -> str:
    """How a process has ended."""
    return f"has ended with exit code {code}" if code >= 0 else f"was killed by {signal.Signals(-code).name}"


def check_programs(members: Sequence[Process]) -> None:
    """Raises StartError with all that is not installed."""
    users: dict[str, list[str]] = {}
    for member in members:
        for need in member.missing(ROOT):
            users.setdefault(need, []).append(member.name)
    if users:
        told = [f"there is no {need}, for {' and '.join(names)}" for need, names in users.items()]
        raise StartError("\n".join([*told, "run `make setup setup-stack`"]))


def check_ports(members: Sequence[Process], variable_of: Mapping[int, str]) -> None:
    """Raises StartError with a line for every port that is taken, be it by another process of the stack."""
    mistakes = []
    with ExitStack() as listeners:
        for member in members:
            for port, said in sorted(member.ports.items()):
                try:
                    listeners.enter_context(socket.create_server((HOST, port)))
                except (OSError, OverflowError):
                    taken = f"{HOST}:{port} of {member.name} is taken or not ours: stop what listens there"
                    mistakes.append(f"{taken} or set {variable_of.get(said, 'another one in compose.yaml')}")
    if mistakes:
        raise StartError("\n".join(mistakes))


def port_variables(file: Path) -> dict[int, str]:
    """The variables of the ports in .env. Raises StartError for those that are none."""
    values = variables(os.environ, file)
    ports = {name: values[name] for name in read_env(file.with_name(PORTS.name))}
    mistakes = [f"{name}={port} is no port" for name, port in ports.items() if not port.isdecimal()]
    if mistakes:
        raise StartError("\n".join(mistakes))
    return {int(port): name for name, port in ports.items()}


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Nobody else runs the stack of this folder within the block. Raises StartError if somebody does."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise StartError(f"the stack cannot have its data in {folder}: {error.strerror}: set STACK_FOLDER") from None
    try:
        take(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def take(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StartError(f"the stack of {folder} runs already: stop it or set STACK_FOLDER") from None


def ready_text(stack: Stack, members: Sequence[Process], folder: Path, seconds: float) -> str:
    """What people want to know when everything is ready."""
    shown = [member.shows.rpartition(", ") for member in members if member.shows]
    width = max((len(what) for what, _, _ in shown), default=0)
    return READY.format(
        places="\n".join(f"  {what:{width}}   {where}" for what, _, where in shown),
        absent="\n".join(f"  {each.native.absent}." for each in stack.services.values() if each.native.absent),
        count=len(members),
        seconds=seconds,
        folder=folder,
    )


async def run(file: Path) -> int:
    """Runs the stack of a file until a signal; gives the exit code."""
    stop = stop_on_signal()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, stop.set)
    folder, stack = stack_folder(), read_stack(file)
    names = port_variables(file)
    members = processes(stack, folder, os.environ, file)
    check_programs(members)
    with locked(folder):
        check_ports(members, names)
        console = Console(members, stop)
        console.tell(f"{len(members)} processes start")
        return await Runner(members, console, stop).run(partial(ready_text, stack, members, folder))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m compose.run", description=__doc__)
    parser.add_argument("--file", type=Path, default=FILE, help="a file like compose.yaml (%(default)s)")
    run_to_exit(run(parser.parse_args().file))


if __name__ == "__main__":
    main()
