"""Plans: what a seed says, it says again."""

from tests.chaos.plan import ROLES, Harm, drawn
from tests.tcp_proxy import Weather


def test_a_seed_gives_the_same_plan_again() -> None:
    assert drawn(7, 50, "sqlite", 30) == drawn(7, 50, "sqlite", 30) != drawn(8, 50, "sqlite", 30)


def test_in_the_long_run_every_victim_suffers_every_harm() -> None:
    faults = [fault for seed in range(40) for fault in drawn(seed, 20, "postgresql", 30).faults]
    assert {fault.victim for fault in faults} == {*ROLES, "mongodb", "rabbitmq", "postgresql"}
    assert {fault.harm for fault in faults} == {*Harm, *Weather} - {Weather.CLEAR}
    stops = [fault.seconds for fault in faults if fault.harm is Harm.STOP]
    assert 1 <= min(stops) < 2
    assert 25 < max(stops) <= 30


def test_only_connections_through_a_proxy_have_weather() -> None:
    for seed in range(40):
        plan = drawn(seed, 20, "sqlite", 30)
        weather = {fault.victim for fault in plan.faults if isinstance(fault.harm, Weather)}
        assert weather <= {"mongodb", "rabbitmq", "sandbox"}
        assert not weather or plan.stormy


def test_sqlite_has_no_server_to_kill() -> None:
    assert all(fault.victim != "postgresql" for seed in range(20) for fault in drawn(seed, 20, "sqlite", 30).faults)


def test_a_scale_shortens_every_time() -> None:
    long, short = drawn(3, 10, "sqlite", 30), drawn(3, 10, "sqlite", 30, scale=0.1)
    assert [round(fault.at / 10, 9) for fault in long.faults] == [round(fault.at, 9) for fault in short.faults]
