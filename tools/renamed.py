"""Convert CSV tables with old names of columns and flags to the current names.

    python tools/renamed.py results/studies

It converts the headers and the flags of all CSV files below the folder, and checks that no other cell changes.
"""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import click

#: Old name → new name.
COLUMNS = {
    "audit_fall_margin": "audit_drop_margin",
    "audit_fall_scale_masking": "audit_drop_scale_masking",
    "audit_fall_more_steps": "audit_drop_not_converged",
    "audit_fall_black_box": "audit_drop_black_box_stronger",
    "audit_fall_transfer": "audit_drop_transfer",
    "audit_fall_large_eps": "audit_drop_large_eps_survivors",
    "audit_fall_stronger_attack": "audit_drop_stronger_attack",
    "audit_twin": "audit_baseline_run",
    "audit_n_right": "audit_n_correct",
    "audit_detectable": "audit_mde",
    "n_cut": "n_truncated",
    "detectable": "mde",
    "detectable_seeds": "mde_seeds",
    "lost": "n_regressed",
    "gained": "n_improved",
    "lipschitz_gradient_norm_max": "margin_gradient_norm_max",
    "lipschitz_gradient_norm_mean": "margin_gradient_norm_mean",
}
FLAGS = {
    "order": "weaker_attack_stronger",
    "black_box": "black_box_stronger",
    "large_eps": "large_eps_survivors",
    "more_steps": "not_converged",
    "mode_leak": "stateful_eval",
    "inner_gradients": "test_time_optimization",
}
_FLAG = re.compile(r"\b(" + "|".join(FLAGS) + r")\b")


#: Sentences in notes that were reworded, by their old text.
SENTENCES = {"so that the ratio to it is undefined": "so that the ratio is undefined"}


def rename_flags(text: str) -> str:
    """Replace the old names of flags in ``text`` by the current ones."""
    return _FLAG.sub(lambda match: FLAGS[match[1]], text)


def convert(text: str) -> str:
    """Replace the old names of columns and flags in the text of a CSV file, and change nothing else."""
    rows = list(csv.reader(io.StringIO(text, newline="")))
    header = rows[0]
    flagged = [index for index, name in enumerate(header) if "flags" in name]
    new = [[COLUMNS.get(name, name) for name in header]]
    for row in rows[1:]:
        new.append([rename_flags(cell) if index in flagged else cell for index, cell in enumerate(row)])
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\r\n" if "\r\n" in text else "\n").writerows(new)
    return out.getvalue()


def differences(before: str, after: str) -> int:
    """Count the cells that differ, without the header and the columns of flags."""
    old, new = (list(csv.reader(io.StringIO(text, newline=""))) for text in (before, after))
    flagged = {index for index, name in enumerate(old[0]) if "flags" in name}
    pairs = zip(old[1:], new[1:], strict=True)
    return sum(a != b for rows in pairs for index, (a, b) in enumerate(zip(*rows, strict=True)) if index not in flagged)


@click.command()
@click.argument("folder", type=click.Path(exists=True, path_type=Path))
def main(folder: Path) -> None:
    """Convert every CSV file below FOLDER."""
    for path in sorted(folder.rglob("*.csv")):
        before = path.read_bytes().decode()
        after = convert(before)
        changed = differences(before, after)
        if changed:
            raise click.ClickException(f"{path}: {changed} other cells would change; the file was not written")
        renamed = sum(
            a != b for a, b in zip(before.splitlines()[0].split(","), after.splitlines()[0].split(","), strict=True)
        )
        if after != before:
            path.write_bytes(after.encode())
        click.echo(f"{path}: {renamed} columns renamed, all other values unchanged")


if __name__ == "__main__":
    main()
