"""aiofiles.tempfile."""

from sideloop.aio.tempfile import *  # noqa: F403
