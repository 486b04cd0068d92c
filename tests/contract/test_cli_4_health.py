"""`app-manager health` and `metrics`, against a running API (contract cli.md 4)."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from api.cli.client.metrics import KEY_METRICS
from tests.api import Api, User, running_api, settings_for
from tests.command_line import Shell

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def well(mongodb_uri: str, api_database: str, api_folder: Path, rabbitmq_url: str) -> AsyncIterator[Api]:
    """An API with a broker, too."""
    settings = settings_for(
        f"sqlite:///{api_folder}/well.db", mongodb_uri, f"{api_database}_well", rabbitmq_url=rabbitmq_url
    )
    async with running_api(settings) as well:
        yield well


# -- health -----------------------------------------------------------------------------------------------------------

FORMS = {
    (): ("/health", "Health Status", "healthy"),
    ("--live",): ("/health/live", "Liveness Check", "alive"),
    ("-l",): ("/health/live", "Liveness Check", "alive"),
    ("--ready",): ("/health/ready", "Readiness Check", "ready"),
    ("-r",): ("/health/ready", "Readiness Check", "ready"),
}


@pytest.mark.parametrize("form", FORMS)
async def test_each_form_tells_that_all_is_well(well: Api, shell: Shell, form: tuple[str, ...]) -> None:
    path, title, status = FORMS[form]
    done = (await shell.runs("-u", f"{well.url}/", "health", *form)).ended_well()
    assert title in done.stdout.splitlines()[0]
    assert done.fields["Status"] == status
    assert list(done.fields) == ["Status", "Timestamp"] + (["Environment"] if path == "/health" else [])
    names = ["mongodb", "rabbitmq", "event_store"] if path != "/health/live" else []
    word = {"/health": "healthy", "/health/ready": "ready"}.get(path)
    assert [row[:2] for row in done.rows] == [[name, word] for name in names]
    assert all(row[2].endswith(" ms") if path == "/health" else row[2] == "-" for row in done.rows)
    as_json = (await shell.runs("-u", well.url, "health", *form, "--json")).ended_well().json
    assert as_json.keys() == (await well.ask("GET", path)).json.keys()
    assert as_json["status"] == status


async def test_what_is_unwell_is_shown_in_the_same_way(api: Api, shell: Shell) -> None:
    """Without a broker."""
    done = await shell.runs("-u", api.url, "health")
    assert (done.code, done.stderr) == (1, "Error: the service is not healthy: rabbitmq\n")
    assert done.fields["Status"] == "unhealthy"
    assert ["rabbitmq", "unhealthy", "-"] in done.rows
    as_json = await shell.runs("-u", api.url, "health", "--json")
    assert as_json.code == 1
    assert as_json.json["status"] == "unhealthy"


async def test_what_is_not_ready_fails(shell: Shell, mongodb_uri: str, mongo_database: str, api_folder: Path) -> None:
    settings = settings_for(f"sqlite:///{api_folder}/unready.db", mongodb_uri, mongo_database)
    async with running_api(settings, projected=False) as unready:
        done = await shell.runs("-u", unready.url, "health", "--ready")
        assert done.code == 1
        assert done.stderr.startswith("Error: the service is not ready: mongodb")
        assert done.fields["Status"] == "not_ready"
        (await shell.runs("-u", unready.url, "health", "--live")).ended_well()


async def test_two_checks_at_once_are_bad_usage(api: Api, shell: Shell) -> None:
    assert (await shell.runs("-u", api.url, "health", "-l", "-r")).code == 2


async def test_a_token_that_is_no_good_does_not_matter(well: Api, shell: Shell) -> None:
    (await shell.runs("-u", well.url, "-t", "nonsense", "health")).ended_well()


# -- metrics ----------------------------------------------------------------------------------------------------------


def samples(text: str) -> dict[str, str]:
    return dict(line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))


@pytest_asyncio.fixture(loop_scope="module")
async def counted(api: Api, ada: User) -> None:
    """Some requests."""
    assert (await ada.submit()).status == 200
    assert (await ada.get("/applied")).status == 200


async def test_the_key_metrics_are_a_table(api: Api, shell: Shell, counted: None) -> None:
    done = (await shell.runs("-u", api.url, "metrics")).ended_well()
    assert done.stdout.startswith("Key Metrics\n")
    named = {row[0].partition("{")[0] for row in done.rows}
    assert {"http_requests_total", "http_request_duration_seconds_sum", "http_request_duration_seconds_count"} <= named
    assert named <= KEY_METRICS
    shown, _, whole, *_ = done.stdout.splitlines()[-1].split()
    assert int(shown) == len(done.rows) < int(whole)
    key = 'http_requests_total{endpoint="/applications",method="POST",status_code="200"}'
    assert int(dict(row for row in done.rows)[key]) >= 1


@pytest.mark.parametrize("form", ["--raw", "-r"])
async def test_raw_is_the_text_as_it_came(api: Api, shell: Shell, counted: None, form: str) -> None:
    done = (await shell.runs("-u", api.url, "metrics", form)).ended_well()
    text = (await api.ask("GET", "/metrics")).body.decode()
    assert [line.split(" ")[0] for line in done.stdout.split("\n")] == [line.split(" ")[0] for line in text.split("\n")]
    assert "# TYPE http_requests_total counter\n" in done.stdout
    (await shell.runs("-u", api.url, "-o", "json", "metrics", form)).ended_well().stdout.index("# TYPE")


async def test_a_filter_works_in_every_form(api: Api, shell: Shell, counted: None) -> None:
    text = (await api.ask("GET", "/metrics")).body.decode()
    holding = [line for line in text.splitlines() if "submitted" in line.lower()]
    raw = (await shell.runs("-u", api.url, "metrics", "--raw", "--filter", "SUBMITTED")).ended_well()
    assert raw.stdout.splitlines() == holding
    expected = samples("\n".join(holding))
    as_json = (await shell.runs("-u", api.url, "metrics", "--json", "-f", "Submitted")).ended_well().json
    assert as_json == expected
    table = (await shell.runs("-u", api.url, "metrics", "-f", "submitted")).ended_well()
    assert dict(table.rows) == expected
    everything = (await shell.runs("-u", api.url, "metrics", "--json")).ended_well().json
    assert everything.keys() == samples(text).keys()
    nothing = (await shell.runs("-u", api.url, "metrics", "-f", "no such thing")).ended_well()
    assert nothing.stdout.splitlines()[-1].startswith("0 of ")


async def test_raw_and_json_at_once_are_bad_usage(api: Api, shell: Shell) -> None:
    assert (await shell.runs("-u", api.url, "metrics", "--raw", "--json")).code == 2


async def test_metrics_behind_a_token_get_it(
    shell: Shell, mongodb_uri: str, mongo_database: str, api_folder: Path
) -> None:
    settings = settings_for(f"sqlite:///{api_folder}/shy.db", mongodb_uri, mongo_database, metrics_auth_required=True)
    async with running_api(settings, projected=False) as shy:
        more = (await shell.runs("-u", shy.url, "metrics")).failed("A header Authorization: Bearer <token> is needed")
        assert more[1] == "code: ERR_8001"
        assert more[-1].startswith("hint: no token is set")
        (await shell.of(shy.user()).runs("metrics")).ended_well()
