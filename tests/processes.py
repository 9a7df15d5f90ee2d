"""Servers of tests as processes that can be ended and stopped."""

import signal
import subprocess


class ServerProcess:
    """A started server."""

    _process: "subprocess.Popen[bytes]"

    def kill(self) -> None:
        """Ends it at once."""
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        """Lets it hang until it is resumed."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)
