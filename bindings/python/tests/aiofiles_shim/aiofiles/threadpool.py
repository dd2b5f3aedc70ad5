"""aiofiles.threadpool."""

from sideloop.aio import open, stderr, stderr_bytes, stdin, stdin_bytes, stdout, stdout_bytes, wrap

__all__ = ["open", "stderr", "stderr_bytes", "stdin", "stdin_bytes", "stdout", "stdout_bytes", "wrap"]
