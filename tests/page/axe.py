"""axe-core, npm's package: fetched once, checked against its published digest, and kept beside this file.

python tests/page/axe.py        fetch it; exit status 1, with a line, if that fails
"""

import base64
import hashlib
import io
import sys
import tarfile
import urllib.request
from pathlib import Path

ADDRESS = "https://registry.npmjs.org/axe-core/-/axe-core-4.14.1.tgz"
INTEGRITY = "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
SCRIPT = Path(__file__).parent / ".axe" / "axe.min.js"


def fetch() -> None:
    """Put the script where the tests read it. Raises OSError if it cannot be had, ValueError for another file."""
    if SCRIPT.exists():
        return
    with urllib.request.urlopen(ADDRESS, timeout=60) as answer:
        package = answer.read()
    if base64.b64encode(hashlib.sha512(package).digest()).decode() != INTEGRITY:
        raise ValueError(f"{ADDRESS} is not the file that was published")
    with tarfile.open(fileobj=io.BytesIO(package)) as files:
        content = files.extractfile("package/axe.min.js").read()
    SCRIPT.parent.mkdir(exist_ok=True)
    SCRIPT.write_bytes(content)


if __name__ == "__main__":
    try:
        fetch()
    except (OSError, ValueError) as error:
        sys.exit(f"tests/page/axe.py: {ADDRESS} could not be fetched ({error})")
