"""The folder of checkpoints: the chain goes on behind its last whole line, whoever was killed before."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from infra import checkpoints
from infra.checkpoints import CheckpointFolder, CheckpointsBroken
from infra.log_database import StoredAt
from infra.seals import Checkpoint, sealed
from tests.evidence import AT, KEY, checkpoints_over, stored_events

EVENTS = stored_events(6)
FIRST = "checkpoints-000000001.jsonl"


def seal(folder: CheckpointFolder, events: Sequence[StoredAt]) -> None:
    folder.append(lambda last: sealed(last, events, KEY, AT))


def seal_each(folder: CheckpointFolder, count: int) -> None:
    for number in range(count):
        seal(folder, EVENTS[number : number + 1])


def content(folder: CheckpointFolder) -> list[Checkpoint]:
    return [Checkpoint.parse(line.content) for line in folder.lines()]


def test_a_folder_is_made_with_its_first_checkpoint(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "some" / "audit")
    assert (folder.last(), list(folder.lines())) == (None, [])
    assert list(tmp_path.iterdir()) == []
    seal_each(folder, 3)
    assert content(folder) == checkpoints_over(EVENTS[:3], 1)
    assert [line.place for line in folder.lines()] == [f"{FIRST}:{number}" for number in (1, 2, 3)]


def test_lines_are_those_that_there_were_when_they_were_asked_for(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    seal_each(folder, 2)
    lines = folder.lines()
    seal(folder, EVENTS[2:3])
    assert [line.place for line in lines] == [f"{FIRST}:1", f"{FIRST}:2"]


def test_who_comes_next_goes_on(tmp_path: Path) -> None:
    seal_each(CheckpointFolder(tmp_path), 2)
    other = CheckpointFolder(tmp_path)
    assert other.last() == checkpoints_over(EVENTS[:2], 1)[-1]
    seal(other, EVENTS[2:3])
    assert content(other) == checkpoints_over(EVENTS[:3], 1)


def test_two_writers_never_continue_the_same_checkpoint(tmp_path: Path) -> None:
    """Each believes to be the only one."""
    first, second = CheckpointFolder(tmp_path), CheckpointFolder(tmp_path)
    for number in range(6):
        seal((first, second)[number % 2], EVENTS[number : number + 1])
    assert content(first) == checkpoints_over(EVENTS[:6], 1)


def test_nobody_appends_while_another_does(tmp_path: Path) -> None:
    folder, other = CheckpointFolder(tmp_path), CheckpointFolder(tmp_path)

    def make(last: Checkpoint | None) -> Checkpoint:
        with pytest.raises(BlockingIOError):
            seal(other, EVENTS[:1])
        return sealed(last, EVENTS[:1], KEY, AT)

    folder.append(make)
    assert len(content(other)) == 1


@pytest.mark.parametrize("cut", [1, 2, 100])
@pytest.mark.parametrize("known", [True, False])
def test_a_line_that_a_kill_left_without_its_end_does_not_count(tmp_path: Path, cut: int, known: bool) -> None:
    folder = CheckpointFolder(tmp_path)
    seal_each(folder, 3)
    file = tmp_path / FIRST
    file.write_bytes(file.read_bytes()[:-cut])
    folder = folder if known else CheckpointFolder(tmp_path)
    assert folder.last() == checkpoints_over(EVENTS[:2], 1)[-1]
    assert len(content(folder)) == 2
    seal(folder, EVENTS[2:3])
    assert content(CheckpointFolder(tmp_path)) == checkpoints_over(EVENTS[:3], 1)


def test_a_file_ends_and_the_next_one_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "LINES", 2)
    seal_each(CheckpointFolder(tmp_path), 5)
    names = [FIRST, "checkpoints-000000003.jsonl", "checkpoints-000000005.jsonl"]
    assert sorted(file.name for file in tmp_path.glob("*.jsonl")) == names
    assert content(CheckpointFolder(tmp_path)) == checkpoints_over(EVENTS[:5], 1)
    (tmp_path / names[2]).write_bytes(b'{"numb')  # killed in its first line
    folder = CheckpointFolder(tmp_path)
    assert folder.last() == checkpoints_over(EVENTS[:4], 1)[-1]
    seal(folder, EVENTS[4:5])
    assert content(CheckpointFolder(tmp_path)) == checkpoints_over(EVENTS[:5], 1)


def test_a_last_line_that_was_changed_is_not_continued(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    seal_each(folder, 2)
    with (tmp_path / FIRST).open("ab") as file:
        file.write(b"nonsense\n")
    with pytest.raises(CheckpointsBroken, match="is no checkpoint"):
        seal(folder, EVENTS[2:3])


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "README").write_text("ours")
    folder = CheckpointFolder(tmp_path)
    seal_each(folder, 1)
    assert len(content(folder)) == 1
