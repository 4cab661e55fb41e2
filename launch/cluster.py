"""A real Flink or Spark cluster on this machine, from packages alone, for trying and for tests.

    python -m launch.cluster flink up      # two workers of one slot each
    recordmill convert --runner flink --master localhost:8081 …
    python -m launch.cluster flink down

The engines' jars come out of the source distributions on the Python package index; nothing of
them is installed, for `apache-flink` would replace our version of Beam by an old one.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.errors import UsageError

from .checks import check_java, require
from .jars import get_jar

CACHE = os.path.join(os.path.expanduser("~"), ".cache", "recordmill")
START_SECONDS = 60.0
DOWN_SECONDS = 15.0
# What Java 17 keeps shut and both engines use.
OPENS = (
    *("java.lang", "java.lang.invoke", "java.lang.reflect", "java.io", "java.net", "java.nio"),
    *("java.text", "java.time", "java.util", "java.util.concurrent", "sun.nio.ch"),
    *("java.util.concurrent.atomic", "java.util.concurrent.locks", "sun.security.action"),
)
OPENS_ARGS = [f"--add-opens=java.base/{name}=ALL-UNNAMED" for name in OPENS]
# A worker that is gone is noticed after 6 s; a task that went with it is tried again, elsewhere.
FLINK_CONFIG = """\
jobmanager.rpc.address: localhost
jobmanager.bind-host: localhost
jobmanager.rpc.port: {rpc_port}
rest.address: localhost
rest.bind-address: localhost
rest.port: {port}
jobmanager.memory.process.size: 1g
taskmanager.host: localhost
taskmanager.bind-host: localhost
taskmanager.numberOfTaskSlots: 1
taskmanager.cpu.cores: 1.0
taskmanager.memory.task.heap.size: 384m
taskmanager.memory.task.off-heap.size: 0b
taskmanager.memory.framework.heap.size: 128m
taskmanager.memory.framework.off-heap.size: 128m
taskmanager.memory.managed.size: 128m
taskmanager.memory.network.min: 64m
taskmanager.memory.network.max: 64m
taskmanager.memory.jvm-metaspace.size: 256m
taskmanager.memory.jvm-overhead.min: 64m
taskmanager.memory.jvm-overhead.max: 64m
heartbeat.interval: 1000
heartbeat.timeout: 6000
restart-strategy.type: fixed-delay
restart-strategy.fixed-delay.attempts: 10
restart-strategy.fixed-delay.delay: 1 s
"""
# Flink says nothing without it.
LOG4J_CONFIG = """\
rootLogger.level = INFO
rootLogger.appenderRef.console.ref = Console
appender.console.name = Console
appender.console.type = CONSOLE
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{HH:mm:ss} %-5p %c{1} %m%n
"""


@dataclass(frozen=True)
class Engine:
    """Where an engine's jars come from.

    Attributes:
      package: On the Python package index.
      jars: The folder of jars in its source distribution.
      port: Of the master, unless another is asked for.
      job_server: As `jars.get_jar` names it.
    """

    package: str
    version: str
    jars: str
    port: int
    job_server: str


ENGINES = {
    "flink": Engine("apache-flink-libraries", "2.2.1", "deps/lib", 8081, "flink-2.2"),
    "spark": Engine("pyspark", "3.5.9", "deps/jars", 7077, "spark-3"),
}


def get_engine(name: str, cache: str = CACHE) -> str:
    """The folder of an engine's jars; some 300 MB are downloaded the first time.

    Raises:
      UsageError: The package could not be had.
    """
    engine = ENGINES[name]
    folder = os.path.join(cache, f"{name}-{engine.version}")
    if os.path.isdir(folder):
        return folder
    download = f"{folder}.download-{os.getpid()}"
    wanted = f"{engine.package}=={engine.version}"
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:"]
    try:
        done = subprocess.run(
            [*pip, "--no-build-isolation", "-d", download, wanted],
            capture_output=True,
            text=True,
            check=False,
        )
        archives = os.listdir(download) if os.path.isdir(download) else []
        if done.returncode or not archives:
            lines = done.stderr.strip().splitlines() or ["no message"]
            raise UsageError(f"pip could not get {wanted} ({lines[-1]}); see to it and try again")
        unpacked = os.path.join(download, "jars")
        os.makedirs(unpacked)
        with tarfile.open(os.path.join(download, archives[0])) as archive:
            for member in archive:
                path = member.name.partition("/")[2]
                if os.path.dirname(path) == engine.jars and path.endswith(".jar"):
                    member.name = os.path.basename(path)
                    archive.extract(member, unpacked, filter="data")
        os.rename(unpacked, folder)
    finally:
        shutil.rmtree(download, ignore_errors=True)
    return folder


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _alive(pid: int) -> bool:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # one of ours that has ended is not to stay a zombie
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class Cluster:
    """A cluster on this machine; its processes are noted in `<folder>/cluster.json`."""

    def __init__(self, name: str, folder: str, port: int | None = None) -> None:
        """Names a cluster; nothing is started."""
        self.name, self.folder = name, os.path.abspath(folder)
        self.port = port or ENGINES[name].port
        self._note = os.path.join(self.folder, "cluster.json")

    @property
    def master(self) -> str:
        """What to give as --master."""
        return f"localhost:{self.port}"

    def pids(self) -> dict[str, int]:
        """Its processes that are alive, by name: master, worker-0, and so on."""
        if not os.path.exists(self._note):
            return {}
        with open(self._note, encoding="utf-8") as stream:
            noted: dict[str, int] = json.load(stream)
        return {name: pid for name, pid in noted.items() if _alive(pid)}

    def _start(self, name: str, command: Sequence[str]) -> None:
        with open(os.path.join(self.folder, f"{name}.log"), "wb") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env={**os.environ, "FLINK_CONF_DIR": self.folder, "SPARK_SCALA_VERSION": "2.12"},
                start_new_session=True,
            )
        noted = {**self.pids(), name: process.pid}
        with open(f"{self._note}.new", "w", encoding="utf-8") as stream:
            json.dump(noted, stream)
        os.replace(f"{self._note}.new", self._note)

    def _java(self, heap: str, main: str, *arguments: str) -> list[str]:
        jars = get_engine(self.name)
        java = ["java", f"-Xmx{heap}", *OPENS_ARGS]
        if self.name == "flink":
            java.append(f"-Dlog4j.configurationFile=file:{self.folder}/log4j.properties")
        return [*java, "-cp", f"{jars}/*", main, *arguments]

    def _write(self, name: str, content: str) -> None:
        with open(os.path.join(self.folder, name), "w", encoding="utf-8") as stream:
            stream.write(content)

    def start_master(self) -> None:
        """Starts the master, and waits until it listens."""
        os.makedirs(self.folder, exist_ok=True)
        if self.name == "flink":
            self._write("config.yaml", FLINK_CONFIG.format(port=self.port, rpc_port=free_port()))
            self._write("log4j.properties", LOG4J_CONFIG)
            main = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
            command = self._java("512m", main, "--configDir", self.folder)
        else:
            main = "org.apache.spark.deploy.master.Master"
            flags = ("--host", "localhost", "--port", str(self.port), "--webui-port", "0")
            command = self._java("512m", main, *flags)
        self._start("master", command)
        self._wait(lambda: self._answers(), "its master does not answer", "master")

    def start_worker(self, number: int) -> None:
        """Starts a worker of one slot; also in place of one that was killed."""
        if self.name == "flink":
            main = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
            command = self._java("512m", main, "--configDir", self.folder)
        else:
            main = "org.apache.spark.deploy.worker.Worker"
            flags = ("--host", "localhost", "--cores", "1", "--memory", "1g", "--webui-port", "0")
            command = self._java("256m", main, *flags, f"spark://{self.master}")
        self._start(f"worker-{number}", command)
        joined = {"flink": "Successful registration at resource manager", "spark": "Successfully"}
        log = os.path.join(self.folder, f"worker-{number}.log")
        self._wait(lambda: joined[self.name] in _text(log), "it does not join", f"worker-{number}")

    def up(self, workers: int) -> None:
        """Starts a master and workers.

        Raises:
          UsageError: Java is missing, the port is taken, or a process does not come up.
        """
        if self.pids():
            raise UsageError(f"{self.folder}: a {self.name} cluster runs already; take it down")
        require([check_java(11, 17)])
        if self._answers():
            raise UsageError(f"port {self.port} is taken; give another --port")
        get_engine(self.name)
        try:
            self.start_master()
            for number in range(workers):
                self.start_worker(number)
        except BaseException:
            self.down()
            raise

    def down(self) -> None:
        """Ends all processes of the cluster, those that will not end by force."""
        pids = self.pids()
        for how, patience in ((signal.SIGTERM, DOWN_SECONDS), (signal.SIGKILL, DOWN_SECONDS)):
            left = [pid for pid in pids.values() if _alive(pid)]
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, how)
            ending = time.monotonic() + patience
            while any(map(_alive, left)) and time.monotonic() < ending:
                time.sleep(0.1)
        if os.path.exists(self._note):
            os.unlink(self._note)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            socket.create_connection(("localhost", self.port), timeout=1).close()
            return True
        return False

    def _wait(self, ready: Callable[[], bool], complaint: str, process: str) -> None:
        ending = time.monotonic() + START_SECONDS
        while not ready():
            if process not in self.pids() or time.monotonic() > ending:
                log = os.path.join(self.folder, f"{process}.log")
                last = _text(log).strip().splitlines()[-1:] or ["nothing"]
                raise UsageError(f"{self.name} {process}: {complaint}: {last[0]}; see {log}")
            time.sleep(0.2)


def _text(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as stream:
        return stream.read()


def main(argv: Sequence[str] | None = None) -> int:
    """Brings a cluster up or down, or tells of it."""
    parser = argparse.ArgumentParser(prog="python -m launch.cluster", description=__doc__)
    parser.add_argument("engine", choices=sorted(ENGINES))
    parser.add_argument("action", choices=("up", "down", "status"))
    parser.add_argument("--workers", type=int, default=2, metavar="N")
    parser.add_argument("--port", type=int, help="of the master")
    parser.add_argument("--folder", help="for logs; default: ~/.cache/recordmill/cluster-ENGINE")
    args = parser.parse_args(argv)
    folder = args.folder or os.path.join(CACHE, f"cluster-{args.engine}")
    cluster = Cluster(args.engine, folder, args.port)
    try:
        if args.action == "up":
            cluster.up(args.workers)
            print(f"{args.engine} {ENGINES[args.engine].version} is up; now:")
            print(f"  recordmill convert --runner {args.engine} --master {cluster.master} …")
            get_jar(ENGINES[args.engine].job_server)
        elif args.action == "down":
            cluster.down()
        for name, pid in cluster.pids().items():
            print(f"  {name}: process {pid}, {cluster.folder}/{name}.log")
    except UsageError as error:
        print(f"cluster: error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
