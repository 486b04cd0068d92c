"""Starts what this machine lacks, for `make run`, the tests and `app-manager up`: MongoDB, RabbitMQ, PostgreSQL.

Each server is private: its own folder, port and processes, on 127.0.0.1 only, known by process id and never by name.
It may be stopped, killed and started again in its folder and keeps its data; it dies with the process that started it.
Programs come from what is installed, else from the wheel (MongoDB) or Debian's packages unpacked into a cache folder
(RabbitMQ, PostgreSQL), without root and without a change to the system. Linux only.
"""

from infra.local_servers.errors import LocalServerError
from infra.local_servers.folder import temporary_folder
from infra.local_servers.launch import free_port
from infra.local_servers.mongodb import start_mongodb
from infra.local_servers.postgresql import start_postgresql
from infra.local_servers.rabbitmq import start_rabbitmq
from infra.local_servers.running import Running

__all__ = [
    "LocalServerError",
    "Running",
    "free_port",
    "start_mongodb",
    "start_postgresql",
    "start_rabbitmq",
    "temporary_folder",
]
