"""Every read model there is."""

from collections.abc import Sequence

from projections import applied, batches, failed, status, totals, updates
from projections.read_model import ReadModel

READ_MODELS: Sequence[ReadModel] = (status, applied, failed, batches, totals, updates)
