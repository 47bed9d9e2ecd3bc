"""A real redis-server for tests: started on a free port, stopped, paused, restarted."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import redis

from tests.support.service_client import free_port

PATIENCE_SECONDS = 10


class RedisServer:
    """One server with its append-only file in `folder`, flushed after every write."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, or start it again over what it kept."""
        program = shutil.which("redis-server")
        if program is None:
            pytest.skip("redis-server is not installed: run tests/support/install-test-needs")
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--save", ""]
        command += ["--appendonly", "yes", "--appendfsync", "always", *self._options]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + PATIENCE_SECONDS
        with redis.Redis(port=self.port, socket_timeout=1) as client:
            while True:
                try:
                    client.ping()
                    return
                except redis.RedisError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.02)

    def stop(self, kind: signal.Signals = signal.SIGTERM) -> None:
        """End it; SIGKILL gives it no time to tidy up."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(kind)
            self._process.wait(PATIENCE_SECONDS)
            self._process = None

    def pause(self) -> None:
        """Keep it from answering without closing its connections."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def lose_everything(self) -> None:
        """Come back empty, as after the loss of its disk."""
        self.stop(signal.SIGKILL)
        shutil.rmtree(self.folder)
        self.start()

    def back_up(self) -> Path:
        """A copy of what it keeps, as of now."""
        return Path(shutil.copytree(self.folder, self.folder.with_name(f"{self.folder.name} backed up")))

    def restore(self, copy: Path) -> None:
        """Come back with what it kept when it was backed up."""
        self.stop(signal.SIGKILL)
        shutil.rmtree(self.folder)
        shutil.copytree(copy, self.folder)
        self.start()

    def client(self) -> redis.Redis:
        """A plain client."""
        return redis.Redis(port=self.port, socket_timeout=5)
