"""What the roles may need at most, by the bounds that the code sets itself: what is given to them must be more."""

import inspect
from collections.abc import Mapping

from api.excel_builds import ExcelLimits
from api.forms import ROOM_BYTES
from consumers.cv_shelf import HELD_BYTES_MAX
from consumers.documents.cv_text import CvLimits, CvReader
from consumers.worker import LAST_APPENDS_SECONDS
from infra.bounded_process import STOP_SECONDS

PROCESS_BYTES = 256 * 2**20  # a process of ours, when it holds nothing large
FILES_OF_AN_EXCEL_FILE = 3
READERS: int = inspect.signature(CvReader).parameters["processes"].default


def memory_needed() -> Mapping[str, int]:
    """Bytes, with the programs that a role runs."""
    excel = ExcelLimits()
    return {
        "api": PROCESS_BYTES + ROOM_BYTES + excel.at_once * excel.memory,
        "worker": PROCESS_BYTES + HELD_BYTES_MAX + READERS * CvLimits().memory,
        "projector": PROCESS_BYTES,
        "relay": PROCESS_BYTES,
    }


def excel_bytes() -> int:
    """On the disk, for the files in the making."""
    excel = ExcelLimits()
    return excel.at_once * FILES_OF_AN_EXCEL_FILE * excel.file_bytes


def closing_seconds() -> float:
    """Of a worker, after its grace: the last appends, what came late, and its programs."""
    return 2 * LAST_APPENDS_SECONDS + READERS * STOP_SECONDS
