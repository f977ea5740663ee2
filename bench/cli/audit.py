"""``bench audit RUN``: check whether the robust accuracies of a run are reliable, and print figures and a summary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click
from tabulate import tabulate

from bench.audit.levels import LevelName
from bench.cli.config_options import config_options
from bench.cli.group import cli
from bench.cli.options import json_option
from bench.config import RunConfig
from bench.core.columns import AUDIT_FIGURES
from bench.core.epsilon import format_eps
from bench.core.errors import BenchError
from bench.core.inert import json_text, markdown, one_line
from bench.core.records import AuditRecord, RunRecord
from bench.core.vocabulary import Exit
from bench.leaderboard.write_tables import rebuild
from bench.planning.resume import attacked_cells, is_audited
from bench.results.audit_summary import audit_sentence
from bench.results.audit_verdict import all_findings
from bench.results.record_files import dump_record
from bench.results.results_csv import run_at_chance
from bench.results.shared_work import SharedWork
from bench.results.store import Store
from bench.runtime.files import check_writable
from bench.runtime.plugin import load_plugins


@cli.command(
    "audit",
    examples=(
        "bench audit resnet18:lpc:0",
        "bench audit resnet18:lpc:0 --full --json",
    ),
)
@click.argument("name", metavar="RUN")
@config_options(RunConfig, only=("results", "data_dir", "device", "plugin"))
@click.option("--full", is_flag=True, help="audit all budgets, with ten times the steps, on up to 1000 images")
@click.option("--force", is_flag=True, help="audit again, even if an audit is stored")
@json_option
def audit_command(
    name: str,
    *,
    results: Path,
    data_dir: Path | None,
    plugin: Sequence[Path],
    device: str,
    full: bool,
    force: bool,
    as_json: bool,
) -> int:
    """Check whether the robust accuracies of a run are reliable.

    The audit looks for masked gradients, for strong attacks that fool fewer images than weak attacks, and for
    adversarial images that transfer from the baseline.

    Exit code 1 if the audit has a finding.
    """
    load_plugins(plugin)
    store = Store(results)
    run = store.find_run(name)
    split = _split(run, store)
    record, level = None, "full" if full else "default"
    if not is_audited(run.run_id, split, store, level, force=force):
        check_writable(results)
        with SharedWork(store).alone(store.audit_path(run.run_id, split)):
            if not is_audited(run.run_id, split, store, level, force=force):  # by another process meanwhile
                # shown even if it failed and an older audit is kept
                record = _audit(run, store, data_dir, device, full)
        rebuild(store)
    record = record or store.read_audit(run.run_id, split)
    assert record is not None
    at_chance = run_at_chance(run, split, store)
    output = json_text(dump_record(record).decode()) if as_json else _report(run, record, at_chance=at_chance)
    print(output, end="" if as_json else "\n")
    if record.status != "ok":
        return Exit.CELLS_FAILED
    return Exit.NOT_VERIFIED if all_findings(record) or at_chance else Exit.OK


def _split(run: RunRecord, store: Store) -> str:
    """Return the hash of the test split on which the run was attacked. Raises BenchError unless it is unique."""
    splits = {cell.spec.data_sha for cell in attacked_cells(run.run_id, store)}
    name = f"run {run.run_id} ({run.model}:{run.variant}:{run.seed})"
    if not splits:
        raise BenchError(f"{name} has no attack to audit; attack it with 'bench run' or 'bench evaluate' first.")
    if len(splits) > 1:
        raise BenchError(
            f"{name} was attacked on {len(splits)} test splits; 'bench run' audits the split that it attacks."
        )
    return splits.pop()


def _audit(run: RunRecord, store: Store, data_dir: Path | None, device: str, full: bool) -> AuditRecord:
    from bench.audit.audit_run import audit_run
    from bench.evaluation.load_run import reopen

    reopened = reopen(run, store, data_dir=data_dir, device=device)
    batch_size = next(cell.spec.batch_size for cell in store.cells(run.run_id))
    level: LevelName = "full" if full else "default"
    return audit_run(run, reopened.num_classes, reopened.model, reopened.context, batch_size=batch_size, level=level)


def _report(run: RunRecord, record: AuditRecord, *, at_chance: bool) -> str:
    table = tabulate(_figures(record), ("figure", "value", "meaning"), tablefmt="pipe", disable_numparse=True)
    return f"{table}\n\n{one_line(audit_sentence(run, record, at_chance=at_chance))}"


def _figures(record: AuditRecord) -> Iterator[tuple[str, str, str]]:
    for budget in record.budgets:
        budget_name = f"{budget.norm} {budget.eps_text or format_eps(budget.eps)}"
        yield from _lines(budget.figures, f" @ {budget_name}")
    yield from _lines(record.figures, "")


def _lines(figures: Mapping[str, float | None], suffix: str) -> Iterator[tuple[str, str, str]]:
    for name, value in figures.items():
        if f"audit_{name}" in AUDIT_FIGURES:
            yield markdown(f"{name}{suffix}"), "" if value is None else f"{value:.4g}", AUDIT_FIGURES[f"audit_{name}"]
