"""A plugin of pytest's: aiofiles' tests on uvloop, where the environment's LOOP says so."""

import asyncio
import os
from typing import Any

import pytest


@pytest.fixture(scope="session")
def event_loop_policy() -> Any:
    """What pytest-asyncio makes its event loops by."""
    if os.environ.get("LOOP") == "uvloop":
        import uvloop

        return uvloop.EventLoopPolicy()
    return asyncio.DefaultEventLoopPolicy()
