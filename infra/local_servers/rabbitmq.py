"""RabbitMQ as a private node: own port mapper (epmd), own cookie, own home, all on 127.0.0.1.

Programs: those installed (found under the wrappers in /usr/sbin, which drop the environment), else Debian's packages.
The node's name is always the same, since its data is kept under it and its port mapper knows no other node; so its
folder may be started again at any port. The port mapper is a child of ours, not a daemon: it dies with us, too.
"""

import os
import secrets
import shlex
import shutil
import signal
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import aio_pika
from aio_pika.exceptions import AMQPError

from infra.local_servers.debian import Packages, unpacked
from infra.local_servers.errors import LocalServerError
from infra.local_servers.folder import cache_folder
from infra.local_servers.launch import HOST, Companion, Kind, Plan, answers, free_port, start
from infra.local_servers.process import Command, environment
from infra.local_servers.running import Running

NAME = "RabbitMQ"
NODE = "app-manager@localhost"
SBIN = "usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin"
ERLANG = Path("usr/lib/erlang/bin")
ANSWER_SECONDS = 5.0

DEBIAN = Packages(
    NAME,
    wanted=("rabbitmq-server", "socat"),
    family="erlang-",
    advice="install rabbitmq-server, or set RABBITMQ_URL to one that runs",
)

CONFIGURATION = """\
listeners.tcp.local = {host}:{port}
disk_free_limit.absolute = 50MB
vm_memory_high_watermark.absolute = 512MiB
log.console = true
log.console.level = info
log.connection.level = warning
log.file = false
"""


@dataclass(frozen=True, slots=True)
class Programs:
    sbin: Path  # RabbitMQ's scripts
    erlang: Path  # erl and epmd
    libraries: str = ""  # of the unpacked packages


async def start_rabbitmq(folder: Path, port: int | None = None, *, programs: Path | None = None) -> Running:
    """Returns when it takes clients, at `amqp://guest:guest@127.0.0.1:PORT/`.

    `folder` keeps its data between starts, also at another port. `programs` replaces the folder into which Debian's
    packages are unpacked if it is not installed (`cache_folder`). Raises LocalServerError.
    """
    return await start(Kind(NAME, signal.SIGTERM, partial(_plan, programs=programs)), folder, port)


def _plan(folder: Path, port: int, *, programs: Path | None) -> Plan:
    found = _installed() or _from_debian(programs or cache_folder())
    mapper_port = free_port()
    variables = _environment(folder, found, port, mapper_port)
    _write_files(folder, port)
    url = f"amqp://guest:guest@{HOST}:{port}/"
    epmd = (str(found.erlang / "epmd"), "-address", HOST, "-port", str(mapper_port))
    mapper = Command(epmd, folder, folder / "epmd.log", variables, signal.SIGTERM)
    script = (str(found.sbin / "rabbitmq-server"),)
    server = Command(script, folder, folder / "rabbitmq.log", variables, signal.SIGTERM)
    return Plan(url, server, partial(_ready, url, port), (Companion(mapper, mapper_port),))


def _environment(folder: Path, found: Programs, port: int, mapper_port: int) -> dict[str, str]:
    own = {
        "PATH": f"{found.erlang}:{found.sbin}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(folder / "home"),
        "LC_ALL": "C.UTF-8",  # Erlang takes file names by it
        "ERL_EPMD_PORT": str(mapper_port),
        "ERL_EPMD_ADDRESS": HOST,
        "ERL_CRASH_DUMP_SECONDS": "0",
        "RABBITMQ_NODENAME": NODE,
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_NODE_IP_ADDRESS": HOST,
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_PID_FILE": str(folder / "rabbitmq.pid"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "rabbitmq-env.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} -start_epmd false",
        "detached": "yes",  # its script becomes Erlang, instead of a shell that waits for it
    }
    return environment(**own) | ({"LD_LIBRARY_PATH": found.libraries} if found.libraries else {})


def _write_files(folder: Path, port: int) -> None:
    for name in ("home", "data"):
        (folder / name).mkdir(mode=0o700, exist_ok=True)
    (folder / "rabbitmq.conf").write_text(CONFIGURATION.format(host=HOST, port=port))
    (folder / "enabled_plugins").write_text("[].\n")
    (folder / "advanced.config").write_text("[].\n")
    (folder / "rabbitmq-env.conf").write_text("")  # instead of /etc/rabbitmq's
    cookie = folder / "home" / ".erlang.cookie"
    if not cookie.exists():
        descriptor = os.open(cookie, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(16))


async def _ready(url: str, port: int) -> bool:
    if not await answers(port):
        return False
    try:
        connection = await aio_pika.connect(url, timeout=ANSWER_SECONDS)
    except (AMQPError, OSError):  # TimeoutError is one
        return False
    await connection.close()
    return True


def _installed() -> Programs | None:
    scripts = sorted(Path("/").glob(f"{SBIN}/rabbitmq-server"))
    if on_path := shutil.which("rabbitmq-server"):
        scripts.append(Path(on_path).resolve())
    erl = shutil.which("erl")
    real = [script.parent for script in scripts if (script.parent / "rabbitmq-env").exists()]
    if not real or erl is None:
        return None
    return Programs(real[-1], _with_epmd(Path(erl).resolve().parent))


def _with_epmd(erlang: Path) -> Path:
    if not (erlang / "epmd").exists():
        raise LocalServerError(
            f"{NAME} is installed, but epmd is not beside erl in {erlang}: install the rest of Erlang"
        )
    return erlang


def _from_debian(cache: Path) -> Programs:
    if " " in str(cache):
        raise LocalServerError(
            f"{NAME}'s scripts cannot be in {cache}, whose name has a space: set XDG_CACHE_HOME to another folder"
        )
    root = unpacked(DEBIAN, cache, _move_erlang)
    libraries = ":".join(map(str, root.glob("usr/lib/*-linux-gnu*")))
    return Programs(next(root.glob(SBIN)), root / ERLANG, libraries)


def _move_erlang(root: Path, place: Path) -> None:
    """Erlang's scripts name the place that they were built for."""
    for name in ("erl", "start"):
        script = root / ERLANG / name
        moved = script.read_text().replace(
            "ROOTDIR=/usr/lib/erlang", f"ROOTDIR={shlex.quote(str(place / ERLANG.parent))}"
        )
        script.write_text(moved)
