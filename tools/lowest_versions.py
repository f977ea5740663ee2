"""Print the lowest version that pyproject.toml admits of every required library, as constraints of pip.

python tools/lowest_versions.py --out lowest.txt
python -m pip install -c lowest.txt .
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
#: A name, and a range with a lower bound. Only the standard library is needed, so that it runs before an installation.
REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)\s*>=\s*(?P<lowest>[0-9][0-9.a-z]*)(?:\s*,\s*!=\s*[0-9.*]+)*")


def lowest_versions(project: Path = PROJECT) -> list[str]:
    """Return one line ``name==version`` per required library. Raises ValueError for one without a lower bound."""
    texts = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"]
    lines = []
    for text in texts:
        found = REQUIREMENT.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} in {project} has no lower bound; write it as name>=version.")
        lines.append(f"{found['name']}=={found['lowest']}")
    return lines


def main() -> None:
    """Print the lines, or write them to a file."""
    parser = argparse.ArgumentParser(description="Print the lowest versions that pyproject.toml admits.")
    parser.add_argument("--out", type=Path, help="file to write in place of stdout")
    out = parser.parse_args().out
    text = "\n".join(lowest_versions()) + "\n"
    if out is None:
        sys.stdout.write(text)
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
