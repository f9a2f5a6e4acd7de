"""A real Kafka broker on localhost, for tests: ``broker.py start | stop | run [COMMAND …]``.

``run`` starts one, runs the command with KAFKA_BOOTSTRAP_SERVERS set to it, and stops it; without a command it runs
until Ctrl-C. The jars come from Maven (once, into .cache/kafka); Java runs them. All its data is in one folder.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
CACHE = HERE.parent.parent / ".cache" / "kafka"
LIBS = CACHE / "libs"
STATE = CACHE / "broker.json"
KEYS, CERTIFICATE = CACHE / "keys.p12", CACHE / "certificate.pem"
KEYS_PASSWORD = "of no use elsewhere"
READY_SECONDS = 60
STOP_SECONDS = 20


class BrokerMissing(Exception):
    """A broker can not be had on this machine; the text says why."""


def say(text: str) -> None:
    """Progress, for the person who waits."""
    print(f"kafka: {text}", file=sys.stderr, flush=True)


def fetch_jars() -> None:
    """Bring the broker's jars into the cache, unless they are there.

    :raises BrokerMissing: Java or Maven is not installed, or Maven could not fetch them
    """
    for program in ("java", "mvn"):
        if shutil.which(program) is None:
            raise BrokerMissing(f"'{program}' is not installed")
    pom = (HERE / "pom.xml").read_text()
    stamp = LIBS / "pom.xml"
    if stamp.exists() and stamp.read_text() == pom:
        return
    shutil.rmtree(LIBS, ignore_errors=True)
    CACHE.mkdir(parents=True, exist_ok=True)
    say(f"fetching the broker's jars with Maven into {LIBS} (once; about a minute)")
    command = ["mvn", "--batch-mode", "--no-transfer-progress", "--file", str(HERE / "pom.xml")]
    command += ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={LIBS}"]
    for attempt in (1, 2):
        with (CACHE / "maven.log").open("w") as log:
            done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, timeout=600, check=False)
        if done.returncode == 0:
            stamp.write_text(pom)
            return
        say(f"Maven failed (attempt {attempt} of 2), see {CACHE / 'maven.log'}")
    raise BrokerMissing(f"Maven could not fetch the broker's jars, see {CACHE / 'maven.log'}")


def make_keys() -> None:
    """A key for TLS and its certificate, unless they are there. They name 127.0.0.1 and no other machine."""
    if CERTIFICATE.exists():
        return
    store = ["-keystore", str(KEYS), "-storetype", "PKCS12", "-storepass", KEYS_PASSWORD, "-alias", "broker"]
    who = ["-dname", "CN=127.0.0.1", "-ext", "SAN=ip:127.0.0.1", "-ext", "BC=ca:true"]
    KEYS.unlink(missing_ok=True)
    for command in (
        ["-genkeypair", "-keyalg", "RSA", "-keysize", "2048", "-validity", "3650", *who],
        ["-exportcert", "-rfc", "-file", str(CERTIFICATE)],
    ):
        subprocess.run(["keytool", *command, *store], check=True, capture_output=True, timeout=60)


def free_port() -> int:
    """A port that nobody listens on now.

    It is none of those that the system gives to outgoing connections (from 32,768 on): one of them could take the
    port of a broker that was killed, and it would not start again.
    """
    for port in random.sample(range(20_000, 32_000), 100):
        with socket.socket() as taken:
            if taken.connect_ex(("127.0.0.1", port)) != 0:
                return port
    raise BrokerMissing("there is no free port between 20000 and 32000")


class Broker:
    """A broker and its data.

    :param folder: where its settings, its log and its data are; on starting again it goes on with them
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "broker.log"
        self.settings = folder / "server.properties"
        self.port, self.sasl_port, self.ssl_port, self.controller_port = (free_port() for _ in range(4))
        self.pid = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """The address for clients."""
        return f"127.0.0.1:{self.port}"

    @property
    def sasl_bootstrap(self) -> str:
        """The address for clients that log in as ``alice`` with ``correct horse``."""
        return f"127.0.0.1:{self.sasl_port}"

    @property
    def ssl_bootstrap(self) -> str:
        """The address for clients that speak TLS and trust CERTIFICATE."""
        return f"127.0.0.1:{self.ssl_port}"

    def start(self) -> None:
        """Start it, or start it again with the data it had, and wait until it serves.

        :raises BrokerMissing: it did not start
        """
        if not self.settings.exists():
            self._format()
        self._launch()
        self._wait()

    def _format(self) -> None:
        make_keys()
        self.folder.mkdir(parents=True, exist_ok=True)
        text = (HERE / "server.properties").read_text()
        ports = {"port": self.port, "sasl_port": self.sasl_port, "ssl_port": self.ssl_port}
        keys = {"keys": KEYS, "password": KEYS_PASSWORD}
        values = {**ports, **keys, "controller_port": self.controller_port, "folder": self.folder}
        for name, value in values.items():
            text = text.replace(f"@{name}@", str(value))
        self.settings.write_text(text)
        cluster = "millrace-tests-0000001"  # an id is 22 characters of base64
        self._java("kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(self.settings)).wait(READY_SECONDS)

    def _java(self, *arguments: str) -> subprocess.Popen[bytes]:
        options = ["-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dlog4j2.level=WARN"]
        options += ["-Djava.net.preferIPv4Stack=true"]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                ["java", *options, "-cp", f"{LIBS}/*", *arguments],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip

    def _launch(self) -> None:
        self._process = self._java("kafka.Kafka", str(self.settings))
        self.pid = self._process.pid

    def _wait(self) -> None:
        """Until the listener takes connections, which it does when the broker is up."""
        for _ in range(READY_SECONDS * 20):
            if self._process is not None and self._process.poll() is not None:
                raise BrokerMissing(f"the broker ended with {self._process.returncode}, see {self.log}")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise BrokerMissing(f"the broker was not ready within {READY_SECONDS} s, see {self.log}")

    def stop(self) -> None:
        """Let it shut down; kill it when that takes too long."""
        self._signal(signal.SIGTERM)
        if not self._gone(STOP_SECONDS):
            self.kill()

    def kill(self) -> None:
        """As a power cut would end it."""
        self._signal(signal.SIGKILL)
        self._gone(STOP_SECONDS)

    def _signal(self, number: int) -> None:
        if not self.pid:
            return
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            say("it was not running any more")

    def _gone(self, seconds: float) -> bool:
        if not self.pid:
            return True
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self._process is not None and self._process.poll() is not None:
                return True
            if self._process is None and not Path(f"/proc/{self.pid}").exists():
                return True
            time.sleep(0.05)
        return False


def begin() -> Broker:
    """A new broker in a folder of its own, running."""
    fetch_jars()
    broker = Broker(Path(tempfile.mkdtemp(prefix="millrace-kafka-")))
    started = time.monotonic()
    try:
        broker.start()
    except BaseException:
        end(broker)
        raise
    say(f"a broker runs at {broker.bootstrap}, ready after {time.monotonic() - started:.1f} s; its log: {broker.log}")
    return broker


def end(broker: Broker) -> None:
    """Stop a broker and remove its data, which it need not write any more."""
    broker.kill()
    shutil.rmtree(broker.folder, ignore_errors=True)
    say("the broker is stopped")


def start() -> int:
    """``start``: leave one running."""
    if STATE.exists():
        say(f"there is one already: {json.loads(STATE.read_text())['bootstrap']}; stop it first")
        return 1
    broker = begin()
    STATE.write_text(json.dumps({"pid": broker.pid, "folder": str(broker.folder), "bootstrap": broker.bootstrap}))
    print(f"export KAFKA_BOOTSTRAP_SERVERS={broker.bootstrap}")
    return 0


def stop() -> int:
    """``stop``: the one that ``start`` left."""
    if not STATE.exists():
        say("none was started")
        return 1
    state = json.loads(STATE.read_text())
    broker = Broker(Path(state["folder"]))
    broker.pid = state["pid"]
    STATE.unlink()
    end(broker)
    return 0


def run(command: list[str]) -> int:
    """``run``: one for the time that a command takes, or until Ctrl-C."""
    for number in (signal.SIGINT, signal.SIGTERM):  # whoever started this may have had it ignored
        signal.signal(number, signal.default_int_handler)
    broker = begin()
    try:
        if command:
            servers = {"KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap, "KAFKA_SASL_SERVERS": broker.sasl_bootstrap}
            return subprocess.run(command, env={**os.environ, **servers}, check=False).returncode
        print(f"export KAFKA_BOOTSTRAP_SERVERS={broker.bootstrap}", flush=True)
        signal.pause()
    except KeyboardInterrupt:
        return 0
    finally:
        end(broker)
    return 0


def main(arguments: list[str]) -> int:
    """The command line."""
    try:
        match arguments:
            case ["start"]:
                return start()
            case ["stop"]:
                return stop()
            case ["run", *command]:
                return run(command)
    except BrokerMissing as reason:
        say(f"no broker: {reason}")
        return 3
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
