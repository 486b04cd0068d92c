"""PostgreSQL as a private cluster with one database, `app_manager`, of the user `app_manager`.

Programs: those installed (of the version that the data is of, else the latest), else Debian's packages. Durability is
as PostgreSQL ships it: fsync and synchronous_commit are on. The password is made once and kept in the folder.

PostgreSQL refuses to run as root. Started by root it runs as `postgres`, else as `nobody`, and its data is theirs; they
must be able to reach the folder, and a line says so where they cannot (a folder below root's home, or pytest's own
temporary folders; `temporary_folder` makes one that they can).
"""

import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psycopg
from psycopg import sql

from infra.local_servers.debian import Packages, unpacked
from infra.local_servers.diagnosis import explain
from infra.local_servers.errors import LocalServerError
from infra.local_servers.folder import cache_folder, last_server
from infra.local_servers.launch import HOST, Kind, Plan, answers, start
from infra.local_servers.process import Account, Command, environment
from infra.local_servers.running import Running

NAME = "PostgreSQL"
OWNER = DATABASE = "app_manager"
OTHER_USERS = ("postgres", "nobody")
INITDB_SECONDS = 120.0
LOOK_SECONDS = 10.0
ANSWER_SECONDS = 2
LIBRARIES = "usr/lib/*-linux-gnu*"

DEBIAN = Packages(
    NAME,
    wanted=("postgresql", "libpq5"),  # the first names the release's own version
    family="postgresql-",
    advice="install postgresql, or set EVENT_STORE to one that runs",
)

SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": 200,
    "jit": "off",  # needs LLVM, and takes longer than our queries
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_min_error_statement": "panic",  # a statement may hold what users sent
}


@dataclass(frozen=True, slots=True)
class Programs:
    folder: Path
    share: Path | None = None  # where they are not at the place that they were built for
    libraries: str = ""

    @property
    def variables(self) -> dict[str, str]:
        return environment() | ({"LD_LIBRARY_PATH": self.libraries} if self.libraries else {})


async def start_postgresql(folder: Path, port: int | None = None, *, programs: Path | None = None) -> Running:
    """Returns when it takes clients, at `postgresql://app_manager:PASSWORD@127.0.0.1:PORT/app_manager`.

    `folder` keeps its data between starts, also at another port. `programs` replaces the folder into which Debian's
    packages are unpacked if it is not installed (`cache_folder`). Raises LocalServerError.
    """
    # SIGINT: connections are cut and all is written; SIGTERM would wait for clients to go
    return await start(Kind(NAME, signal.SIGINT, partial(_plan, programs=programs)), folder, port)


def _plan(folder: Path, port: int, *, programs: Path | None) -> Plan:
    data = folder / "data"
    found = _installed(_major(data)) or _from_debian(programs or cache_folder())
    account = _other_user()
    if account:
        folder.chmod(folder.stat().st_mode | 0o011)
        _require_reach(account, found.folder / "postgres")
        _require_reach(account, folder)
    password = _password(folder)
    if not data.exists():
        _make_cluster(folder, found, account, password)
    words = [str(found.folder / "postgres"), "-D", str(data), "-p", str(port)]
    words += [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
    variables = found.variables | _past_lock(folder, data)
    command = Command(tuple(words), folder, folder / "postgresql.log", variables, signal.SIGINT, account)
    address = f"postgresql://{OWNER}:{password}@{HOST}:{port}"
    return Plan(f"{address}/{DATABASE}", command, partial(_ready, address, port))


async def _ready(address: str, port: int) -> bool:
    """Whether it takes clients; makes the database if there is none."""
    if not await answers(port):
        return False
    try:
        async with await psycopg.AsyncConnection.connect(
            f"{address}/postgres", autocommit=True, connect_timeout=ANSWER_SECONDS
        ) as connection:
            found = await connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE])
            if await found.fetchone() is None:
                await connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
    except psycopg.OperationalError:
        return False  # still starting; the bound is the caller's
    return True


def _past_lock(folder: Path, data: Path) -> dict[str, str]:
    """Lets PostgreSQL pass the lock of a killed predecessor whose id looks alive to it.

    It does where nobody has reaped the dead one yet (a container without an init never does), or where the id is
    another's by now. An id named so is not asked for; shared memory that is still in use is looked for as ever.
    """
    dead, lock = last_server(folder), data / "postmaster.pid"
    if dead and lock.exists() and lock.read_text().partition("\n")[0] == str(dead.pid):
        return {"PG_GRANDPARENT_PID": str(dead.pid)}
    return {}


def _make_cluster(folder: Path, found: Programs, account: Account | None, password: str) -> None:
    """Made under another name and renamed when whole, so that a kill leaves no half cluster."""
    new, password_file = folder / "data.new", folder / "data.password"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    password_file.write_text(password)
    password_file.chmod(0o600)
    if account:
        for path in (new, password_file):
            os.chown(path, account.user, account.group)
    words = [str(found.folder / "initdb"), "-D", str(new), "-U", OWNER, f"--pwfile={password_file}"]
    words += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-instructions"]
    words += ["-L", str(found.share)] if found.share else []
    try:
        done = _run(words, account, found.variables, INITDB_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise LocalServerError(
            f"{NAME}'s initdb took longer than {INITDB_SECONDS:g} s in {folder}: use a faster disk"
        ) from error
    finally:
        password_file.unlink()
    if done.returncode:
        raise explain(NAME, folder, 0, done.returncode, (done.stdout + done.stderr).strip())
    new.replace(folder / "data")


def _password(folder: Path) -> str:
    file = folder / "password"
    if not file.exists():
        new = folder / "password.new"
        new.touch(mode=0o600)
        new.write_text(secrets.token_hex(16))
        new.replace(file)
    return file.read_text()


def _other_user() -> Account | None:
    if os.geteuid() != 0:
        return None
    for name in OTHER_USERS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise LocalServerError(
        f"{NAME} cannot run as root, and this system has neither a user postgres nor nobody: run it as another user"
    )


def _run(
    words: list[str], account: Account | None, variables: dict[str, str], seconds: float
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words,
        user=account.user if account else None,
        group=account.group if account else None,
        extra_groups=[] if account else None,
        cwd="/",  # ours may be out of the other user's reach
        env=variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=seconds,
        check=False,
    )


def _require_reach(account: Account, path: Path) -> None:
    if _run(["/usr/bin/test", "-x", str(path)], account, environment(), LOOK_SECONDS).returncode:
        raise LocalServerError(
            f"{NAME} cannot run as root, so it runs as the user {account.name}, who may not reach {path}: "
            "name a folder that others may enter (chmod o+x each folder above), or run as another user"
        )


def _major(data: Path) -> int | None:
    """The version that the data is of."""
    if not data.exists():
        return None
    return int((data / "PG_VERSION").read_text())


def _installed(major: int | None) -> Programs | None:
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    if on_path := shutil.which("postgres"):
        found.append(Path(on_path).resolve().parent)
    versions = {_version(folder): Programs(folder) for folder in found if (folder / "initdb").exists()}
    if major is not None:
        return versions.get(major)
    return versions[max(versions)] if versions else None


def _version(programs: Path) -> int:
    told = _run([str(programs / "postgres"), "--version"], None, environment(), LOOK_SECONDS)
    found = re.search(r"\) (\d+)", told.stdout)
    return int(found[1]) if found else 0


def _from_debian(cache: Path) -> Programs:
    root = unpacked(DEBIAN, cache)
    folder = next(root.glob("usr/lib/postgresql/*/bin"))
    share = root / "usr/share/postgresql" / folder.parent.name
    return Programs(folder, share, ":".join(map(str, root.glob(LIBRARIES))))
