"""How tests are spread over the processes of one run: by file, but only one whole service runs at a time.

Each test of `end_to_end` starts all roles, which alone keep a core busy: several of them at once would measure each
other. They come first (pyproject.toml), on one process, while the others do the rest.
"""

from xdist.scheduler import LoadFileScheduling

SERVICES = "tests/end_to_end"


class OneServiceAtATime(LoadFileScheduling):
    """The scheduler of `--dist loadfile --no-loadscope-reorder`."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return SERVICES if file.startswith(f"{SERVICES}/") else file
