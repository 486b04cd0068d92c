"""What is told of an application that the read model does not have yet: never more than the next read will tell."""

from dataclasses import replace

from api.ownership import _up_to
from projections.queries import Answer
from tests.builders import an_application

RECORDED = [
    replace(one, position=position)
    for position, one in enumerate(an_application().submitted().started().attempted(1).recorded(), 10)
]


def test_of_one_that_is_not_projected_yet_the_submission_is_told() -> None:
    assert _up_to(Answer(None, 5), RECORDED) == RECORDED[:1]


def test_and_what_the_read_model_has_reached() -> None:
    assert _up_to(Answer(None, 11), RECORDED) == RECORDED[:2]


def test_while_the_read_model_is_being_built_the_log_tells_all() -> None:
    assert _up_to(None, RECORDED) == RECORDED
