"""How fast the relay publishes (contract http.md 9.1)."""

from api.publish_rates import PublishRates


def test_the_rate_is_that_of_the_last_minute() -> None:
    rates = PublishRates()
    assert rates.of("q") is None
    rates.saw(0, {"q": 1_000})
    assert rates.of("q") is None
    rates.saw(15, {"q": 1_030})
    assert (rates.of("q"), rates.of("other")) == (2, 0)
    for at in range(30, 91, 15):
        rates.saw(at, {"q": 1_030})
    assert rates.of("q") == 0
