"""Runs a start script whose server refuses root: `python -m compose.unprivileged /bin/sh SCRIPT ... FOLDER`.

As root it becomes the owner of the folder, or nobody if that is root; as anybody else it
becomes the script at once. What nobody may enter, because it lies within a folder of root,
is found elsewhere: script and programs are copied, and the folder becomes a link.
"""

import fcntl
import os
import pwd
import shutil
import stat
import sys
from pathlib import Path

ELSEWHERE = Path("/var/lib/marketplace")
"""A folder of root that everybody may enter."""
PROGRAM = "postgres"
AS_NOBODY = ("--clear-groups", "--no-new-privs", "--pdeathsig=INT", "--")
"""Without the rights of root, and told to stop when its parent ends, however that happens."""


def as_owner(command: list[str], elsewhere: Path) -> list[str]:
    """The command as root is to run it. The last word is the folder, which is there then."""
    *script, last = command
    folder = home(Path(last).absolute(), elsewhere)
    user = user_of(folder)
    words = [reachable(word, folder, user.pw_uid) for word in script]
    path = f"PATH={path_of_programs(user.pw_uid, elsewhere)}"
    ids = (f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}")
    return ["setpriv", *ids, *AS_NOBODY, "env", path, f"--chdir={folder}", *words, str(folder)]


def home(folder: Path, elsewhere: Path) -> Path:
    """The folder, or the one elsewhere that it is a link to. While it is empty it is given to its user."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    target = folder.resolve()
    if not may_reach(target, user_of(target).pw_uid):
        target = elsewhere / name_elsewhere(folder)
        link(folder, target)
    user = user_of(target)
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not any(target.iterdir()):
        os.chown(target, user.pw_uid, user.pw_gid)
    return target


def link(folder: Path, target: Path) -> None:
    """Makes the folder, which has to be empty if it is there, a link to the target, which is empty then, too."""
    shutil.rmtree(target, ignore_errors=True)
    make_elsewhere(target.parent)
    if folder.exists():
        folder.rmdir()
    folder.symlink_to(target)


def name_elsewhere(folder: Path) -> str:
    return str(folder).strip("/").replace("/", "-")


def user_of(folder: Path) -> pwd.struct_passwd:
    """Whom the folder, or the nearest one that is there, belongs to; nobody if that is root or unknown."""
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    users = {user.pw_uid: user for user in pwd.getpwall() if user.pw_uid != 0}
    return users.get(nearest.stat().st_uid) or pwd.getpwnam("nobody")


def may_reach(path: Path, uid: int) -> bool:
    """Whether a user may enter every folder that leads there."""
    folders = (folder.stat() for folder in path.parents if folder.exists())
    return all(folder.st_uid == uid or folder.st_mode & stat.S_IXOTH for folder in folders)


def reachable(word: str, folder: Path, uid: int) -> str:
    """The word. If it is a file that the user may not reach, one that he may: in a copy of all that is beside it."""
    file = Path(word)
    if not file.is_absolute() or may_reach(file, uid):
        return word
    copied = folder / "script"
    shutil.rmtree(copied, ignore_errors=True)
    copy(file.parent, copied)
    return str(copied / file.name)


def path_of_programs(uid: int, elsewhere: Path) -> str:
    """Where the programs of PostgreSQL are found, before all others, by a user."""
    path = os.environ["PATH"]
    program = shutil.which(PROGRAM)
    if program is None or may_reach(Path(program).resolve(), uid):
        return path
    return f"{installed_elsewhere(Path(program).resolve().parents[1], elsewhere)}/bin:{path}"


def installed_elsewhere(installed: Path, elsewhere: Path) -> Path:
    """A copy of what is installed, which the first of all who need it makes."""
    make_elsewhere(elsewhere)
    modified = (installed / "bin" / PROGRAM).stat().st_mtime_ns
    target = elsewhere / f"{name_elsewhere(installed)}-{modified}"
    lock = os.open(elsewhere, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    if not target.exists():
        new = target.with_name("new")
        shutil.rmtree(new, ignore_errors=True)
        copy(installed, new)
        new.rename(target)
    os.close(lock)
    return target


def make_elsewhere(folder: Path) -> None:
    """Makes the folder of all that is elsewhere, whatever rights new files have."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o711)


def copy(source: Path, target: Path) -> None:
    """Copies a folder so that everybody may read it."""
    shutil.copytree(source, target)
    for path in (target, *target.rglob("*")):
        mode = path.stat().st_mode
        path.chmod(mode | (0o055 if mode & stat.S_IXUSR else 0o044))


def main() -> None:
    command = sys.argv[1:]
    try:
        if os.geteuid() == 0:
            command = as_owner(command, ELSEWHERE)
        os.execvp(command[0], command)  # noqa: S606  it is what we are started for
    except OSError as error:
        told = f"{command[-1]} cannot be used: {error}: set STACK_FOLDER to a folder that user nobody may enter\n"
        sys.stderr.write(told)
        sys.exit(2)


if __name__ == "__main__":
    main()
