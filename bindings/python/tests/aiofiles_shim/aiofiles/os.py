"""aiofiles.os."""

from sideloop.aio.os import *  # noqa: F403
