"""A small program of an installed package's user: run by tests/python.rs and scripts/check-wheels.sh where nothing else
is at hand. Writes into the folder that it is started in.
"""

import sys
from pathlib import Path

import sideloop


async def main() -> bytes:
    loop = sideloop.current_loop()
    await loop.write_file("smoke.txt", b"smoke")
    return await loop.read_file("smoke.txt")


package = Path(sideloop.__file__).parent
# An editable install is named as such, and lies elsewhere.
assert sys.prefix in str(package) or sys.argv[1:] == ["editable"], package
assert (package / "py.typed").is_file()
assert sideloop.library_version() == sideloop.__version__
assert sideloop.run(main()) == b"smoke"
print("works")
