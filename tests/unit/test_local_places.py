"""Which servers `up` starts itself: only what is unset, or on this machine and not there (contract cli.md 5)."""

import socket
from collections.abc import Iterator

import pytest

from api.cli.addresses import Address, address_of, is_of_this_machine, somebody_listens, to_reach, why_not_free
from api.cli.ending import CommandFailed
from api.cli.servers import MONGODB, POSTGRESQL, RABBITMQ, Elsewhere, Place, engines_for, place_of
from infra.local_servers import free_port
from infra.settings import Settings


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_what_is_unset_is_started_at_any_port() -> None:
    assert place_of(MONGODB, Settings(), {}) == Place(MONGODB, None)


def test_what_is_unset_keeps_the_port_of_the_last_run() -> None:
    port = free_port()
    earlier = {"MONGODB": f"mongodb://127.0.0.1:{port}/?replicaSet=rs0", "RABBITMQ_URL": "amqp://elsewhere:5672/"}
    assert place_of(MONGODB, Settings(), earlier) == Place(MONGODB, port)
    assert place_of(RABBITMQ, Settings(), earlier) == Place(RABBITMQ, None)


def test_a_port_of_the_last_run_that_somebody_took_is_given_up(taken_port: int) -> None:
    earlier = {"MONGODB": f"mongodb://127.0.0.1:{taken_port}/"}
    assert place_of(MONGODB, Settings(), earlier) == Place(MONGODB, None)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "user:secret@localhost"])
def test_an_address_of_this_machine_where_nothing_listens_is_where_it_is_started(host: str) -> None:
    port = free_port()
    settings = Settings(rabbitmq_url=f"amqp://{host}:{port}/")
    assert place_of(RABBITMQ, settings, {}) == Place(RABBITMQ, port)


def test_what_runs_already_is_never_touched(taken_port: int) -> None:
    place = place_of(MONGODB, Settings(mongodb=f"mongodb://localhost:{taken_port}"), {})
    assert place == Elsewhere(MONGODB, Address("localhost", taken_port), reached=True)
    assert str(place) == f"localhost:{taken_port}, which runs already"


@pytest.mark.parametrize(
    "uri", ["mongodb://a:1,b:2/?replicaSet=rs", "mongodb://a,b/", "mongodb+srv://cluster.example.org"]
)
def test_several_servers_are_somebody_elses(uri: str) -> None:
    assert place_of(MONGODB, Settings(mongodb=uri), {}) == Elsewhere(MONGODB, None)


def test_a_server_of_another_machine_is_waited_for_and_not_started() -> None:
    place = place_of(MONGODB, Settings(mongodb="mongodb://name.invalid:27017"), {})
    assert place == Elsewhere(MONGODB, Address("name.invalid", 27017))
    assert str(place).startswith("nothing listens at name.invalid:27017 (MONGODB)")


@pytest.mark.parametrize("host", ["127.0.1.1", "0.0.0.0", "user:secret@127.1.2.3"])
def test_another_address_of_this_machine_where_nothing_listens_is_refused_in_one_line(host: str) -> None:
    port = free_port()
    with pytest.raises(CommandFailed) as caught:
        place_of(MONGODB, Settings(mongodb=f"mongodb://{host}:{port}"), {})
    assert str(caught.value) == (
        f"nothing listens at {host.rpartition('@')[2]}:{port} (MONGODB), and a server is started at 127.0.0.1 only: "
        "name that address, leave MONGODB out, or start one there"
    )


def test_another_address_of_this_machine_where_somebody_listens_is_used() -> None:
    with socket.create_server(("127.0.1.1", 0)) as listener:
        port = listener.getsockname()[1]
        place = place_of(MONGODB, Settings(mongodb=f"mongodb://127.0.1.1:{port}"), {})
    assert place == Elsewhere(MONGODB, Address("127.0.1.1", port), reached=True)


def test_an_address_is_of_this_machine_if_an_interface_has_it() -> None:
    for host in ("localhost", "127.0.0.1", "127.9.9.9"):
        assert is_of_this_machine(host)
    for host in ("192.0.2.1", "2001:db8::1", "name.invalid", ""):
        assert not is_of_this_machine(host)


def test_postgresql_is_started_only_where_the_event_store_is_one() -> None:
    assert engines_for(Settings()) == [MONGODB, RABBITMQ]
    settings = Settings(event_store=f"postgresql://me:secret@localhost:{free_port()}/events")
    assert engines_for(settings) == [MONGODB, RABBITMQ, POSTGRESQL]
    assert isinstance(place_of(POSTGRESQL, settings, {}), Place)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("amqp://guest:guest@localhost/vhost", Address("localhost", 5672)),
        ("amqp://[::1]:1234/", Address("::1", 1234)),
        ("amqp://h:99999/", None),
        ("", None),
    ],
)
def test_an_address_is_read_from_a_url_without_its_password(url: str, address: Address | None) -> None:
    assert address_of(url, 5672) == address


def test_an_address_is_free_taken_or_not_ours(taken_port: int) -> None:
    assert why_not_free(Address("127.0.0.1", free_port())) is None
    assert why_not_free(Address("127.0.0.1", taken_port)) == "it is taken"
    assert why_not_free(Address("192.0.2.1", 1234)) == "Cannot assign requested address"
    assert somebody_listens(Address("127.0.0.1", taken_port))
    assert not somebody_listens(Address("127.0.0.1", free_port()))


def test_a_server_on_all_addresses_is_reached_on_this_one() -> None:
    assert [to_reach(host) for host in ("0.0.0.0", "::", "10.0.0.1")] == ["127.0.0.1", "::1", "10.0.0.1"]
