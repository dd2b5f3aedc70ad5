"""Testing against bad I/O: settings that are saved in two ways, on simulated loops, until one of them loses data.

    python faults.py [SEEDS]

Each seed is one way in which things can go. The same seed brings the same back, as often as it is looked at.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Callable, Coroutine, Optional

import sideloop

OLD, NEW = b"colour = green\n" * 20, b"colour = blue\n" * 20
# What the system may do to those who write: now and then, a disk is full, or fails.
PLAN = "write: short@0.3 ENOSPC@0.1; close, sync: EIO@0.1"

Save = Callable[[Path], Coroutine[None, None, None]]


async def save_naively(path: Path) -> None:
    """Writes over the only copy that there is."""
    await sideloop.current_loop().write_file(path, NEW)


async def save_carefully(path: Path) -> None:
    """Writes a new file, makes sure of it, and only then puts it in the place of the old one."""
    fresh = path.with_suffix(".new")
    async with await sideloop.current_loop().open(fresh, "wb") as file:
        await file.write(NEW)
        await file.sync()
        await file.close()
    fresh.replace(path)


def loss(save: Save, path: Path, seed: int) -> Optional[str]:
    """Saves once; says what was lost, if anything: old settings or new ones, but whole ones, must be there."""
    path.write_bytes(OLD)
    said = "and says nothing"
    try:
        sideloop.run(save(path), driver="sim", seed=seed, faults=PLAN)
    except OSError as error:
        said = f"though it says {error}"
        if path.read_bytes() in (OLD, NEW):
            return None
    found = path.read_bytes()
    return None if found == NEW else f"{len(NEW)} bytes of settings have become {len(found)}, {said}"


def main(seeds: int) -> int:
    survivors = []
    with tempfile.TemporaryDirectory() as folder:
        for save in save_naively, save_carefully:
            for seed in range(1, seeds + 1):
                lost = loss(save, Path(folder) / "settings", seed)
                if lost is not None:
                    print(f"{save.__name__}: seed {seed}: {lost}")
                    break
            else:
                survivors.append(save)
                print(f"{save.__name__}: survived {seeds} seeds")
    return 0 if survivors == [save_carefully] else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 300))
