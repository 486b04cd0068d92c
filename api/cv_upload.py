"""An uploaded CV, before the event that names it (contract http.md 2)."""

from aiohttp import web

from api.errors import ResumeNotStored
from api.form_fields import Pdf
from api.keys import CLAIMS, CVS
from domain.errors import StoreFailed
from domain.job import CvReference


async def store_cv(request: web.Request, cv: Pdf) -> CvReference:
    """Durable when this returns. Killed before the event, a CV is left that nobody names (design 1).

    Raises ResumeNotStored when the store refuses it, StoreUnavailable or StoreTimeout when it is away.
    """
    try:
        return await request.app[CVS].put(request[CLAIMS].user_id, cv.content)
    except StoreFailed as error:
        raise ResumeNotStored("The CV could not be stored") from error
