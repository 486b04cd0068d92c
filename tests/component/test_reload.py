"""`serve --reload` over a real process: started again at a change, ended with us."""

import asyncio
import os
import signal
import sys
from pathlib import Path

from api.cli.ending import INTERRUPTED
from api.cli.reload import look, run_reloading

PROGRAM = """
import os, pathlib, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
with pathlib.Path("pids").open("a") as file:
    print(os.getpid(), file=file)
signal.pause()
"""


async def started(folder: Path, times: int) -> list[int]:
    """The ids of the first so many processes."""
    async with asyncio.timeout(10):
        while len(pids := (folder / "pids").read_text().split() if (folder / "pids").exists() else []) < times:
            await asyncio.sleep(0.02)
    return [int(pid) for pid in pids]


async def test_a_changed_file_starts_it_again_and_ctrl_c_ends_it(tmp_path: Path) -> None:
    source = tmp_path / "src" / "package"
    source.mkdir(parents=True)
    (source / "module.py").write_text("one = 1\n")
    (source / "notes.txt").write_text("no Python\n")
    program = PROGRAM.replace('"pids"', repr(str(tmp_path / "pids")))
    running = asyncio.create_task(run_reloading([sys.executable, "-c", program], [tmp_path / "src"]))
    [first] = await started(tmp_path, 1)
    (source / "notes.txt").write_text("still no Python\n")
    (source / "new.py").write_text("two = 2\n")
    first_again, second = await started(tmp_path, 2)
    assert first_again == first
    assert not Path(f"/proc/{first}").exists()
    os.kill(os.getpid(), signal.SIGINT)
    async with asyncio.timeout(10):
        assert await running == INTERRUPTED
    assert not Path(f"/proc/{second}").exists()


def test_a_look_sees_changes_new_files_and_missing_ones(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("")
    before = look([tmp_path])
    assert look([tmp_path]) == before
    (tmp_path / "b.py").write_text("")
    (tmp_path / "b.txt").write_text("")
    added = look([tmp_path])
    assert set(added) - set(before) == {tmp_path / "b.py"}
    os.utime(tmp_path / "a.py", ns=(1, 1))
    assert look([tmp_path])[tmp_path / "a.py"] == 1 != added[tmp_path / "a.py"]
    (tmp_path / "b.py").unlink()
    assert set(look([tmp_path])) == {tmp_path / "a.py"}
