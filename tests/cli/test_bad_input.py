"""The user's mistakes: one clear sentence on stderr, exit 2, no traceback, earlier results untouched."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from records import resealed

from bench.cli import invoke

Bench = Callable[..., Any]

MISTAKES = [
    (["--models", "resnet81"], "unknown model 'resnet81'; did you mean 'resnet18'"),
    (["--models", "zz*"], "no model matches 'zz*'"),
    (["--models", ""], "no model given"),
    (["--recipe", "longer"], "paper-imagenet, paper-svhn, short and paper."),
    (["--variants", "lcp"], "unknown variant 'lcp'; did you mean 'lpc'?"),
    (["--attacks", "fgms"], "unknown attack 'fgms'; did you mean 'fgsm'?"),
    (["--attacks", "pgd20"], "did you mean 'pgd-20'"),
    (["--attacks", "pgd-0"], "steps must be at least 1"),
    (["--dataset", "cifar-10"], "unknown dataset 'cifar-10'; did you mean 'cifar10'"),
    (["--eps", "0"], "eps 0 must be a finite number > 0"),
    (["--eps=-0.1"], "must be a finite number > 0"),
    (["--eps", "8"], "did you mean 8/255?"),
    (["--eps", "eight"], "is not a number"),
    (["--norm", "l3"], "'l3' is not one of"),
    (["--seeds", "one"], "seed 'one' is not a whole number"),
    (["--attack-limit", "autoattack"], "write <attack>=<images>"),
    (["--attack-limit", "pgd-7=5"], "not among the attacks"),
    (["--limit", "0"], "0 is less than 1"),
    (["--limit", "few"], "neither a whole number nor 'all'"),
    (["--epochs", "-1"], "-1 is not in the range"),
    (["--device", "tpu"], "'tpu' is not one of"),
    (["--dataset", "mnist", "--data-dir", "/nowhere/at/all"], "/nowhere/at/all"),
    (["--image-size", "16"], "digits"),
    (["--plugin", "missing.py"], "missing.py does not exist"),
    (["--config", "missing.toml"], "cannot read config missing.toml"),
    (["--checkpoint-path", "missing.pth"], "cannot read checkpoint missing.pth"),
    (["--no-such-option"], "--no-such-option"),
    (["--lr", "nan"], "'nan' is not a finite number"),
    (["--limit", "1"], "too few for batch norm"),
    (["--attacks", "autoattack", "--protocol", "prefiltered"], "needs a filter; add fgsm, pgd"),
    (["--max-queries", "0"], "0 is not in the range"),
    (["--max-queries", "9", "--attack-backend", "reference"], "of foolbox cannot be stopped after 9 forward passes"),
    (["--max-queries", "9", "--attacks", "autoattack-rand"], "of pyautoattack cannot be stopped after 9 forward"),
    (["--max-queries", "9", "--attacks", "idle"], "attack 'idle' of collapse-bench cannot be stopped"),
    (["--save-adversarials", "png"], "'png' is not one of"),
    (["--eps", "8/255/2"], "is not a number"),
    (["--latent-dim", "100000000"], "is not in the range"),
    (["--latent-dim", "8", "--variants", "baseline"], "variants with a penultimate layer"),
    (["--seeds", "99999999999999999999"], "is not a whole number from 0"),
    (["--protocol", "prefiltered", "--attacks", "fgsm"], "none is requested"),
    (["--attacks", "autoattack-square-i10"], "two stages or more"),
    (["--attacks", "autoattack-foo+bar"], "No stage is called 'foo' or 'bar'."),
    (["--corruption-profile", "CIFAR"], "did you mean 'cifar'? Available: cifar, tiny_imagenet and imagenet."),
    (["--attacks", "ddn*"], "no attack matches 'ddn*' in linf"),
    (["--attacks", "none,fgsm"], "attacks: 'none' cannot be combined with 'fgsm'; write 'none' alone"),
    (["--attacks", ""], "no attack given; name at least one, or write 'none'"),
    (["--corruptions", "none,fog"], "corruptions: 'none' cannot be combined with 'fog'; write 'none' alone"),
    (["--corruptions", "all,none"], "corruptions: 'none' cannot be combined with 'all'"),
    (["--corruptions", ""], "no corruption given; name at least one, or write 'none'"),
]


@pytest.mark.parametrize(("arguments", "sentence"), MISTAKES, ids=[" ".join(m[0]) for m in MISTAKES])
def test_one_sentence_and_exit_2(
    bench: Bench, plugin: Path, tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    models = [] if "--models" in arguments else ["--models", "tiny"]
    outcome = bench("run", *models, "--plugin", plugin, "--results", tmp_path / "out", *arguments)
    assert outcome.code == 2
    assert sentence in outcome.err
    assert "Traceback" not in outcome.err
    assert outcome.out == ""
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"root:x:0:0:root:/root:/bin/bash\n", b"PK\x03\x04"])
def test_a_checkpoint_that_is_none(bench: Bench, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights"
    path.write_bytes(content)
    arguments = ["--models", "test_resnet", "--limit", "20", "--epochs", "0", "--attacks", "none"]
    outcome = bench("run", *arguments, "--checkpoint-path", path, "--results", tmp_path / "out")
    assert outcome.code == 2
    assert f"error: checkpoint {path} " in outcome.err
    assert "Traceback" not in outcome.err


def test_a_results_folder_that_is_a_file(bench: Bench, plugin: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    outcome = bench("run", "--models", "tiny", "--plugin", plugin, "--results", tmp_path / "out")
    assert (outcome.code, "is a file" in outcome.err) == (2, True)
    assert (tmp_path / "out").read_text() == "mine"


def test_a_disk_that_fills_up_leaves_what_was_there(
    bench: Bench, plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["run", "--models", "tiny", "--plugin", plugin, "--results", tmp_path / "out", "--attacks", "none"]
    arguments += ["--epochs", "1", "--limit", "30"]
    assert bench(*arguments, "--variants", "baseline").code == 0
    before = {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    outcome = bench(*arguments, "--variants", "lpc")
    assert outcome.code == 2
    assert "No space left on device" in outcome.err
    assert {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()} == before


def test_a_damaged_record_is_named(bench: Bench, plugin: Path, tmp_path: Path) -> None:
    arguments = ["run", "--models", "tiny", "--plugin", plugin, "--results", tmp_path / "out", "--attacks", "none"]
    arguments += ["--epochs", "1", "--limit", "30", "--variants", "baseline"]
    bench(*arguments)
    record = next((tmp_path / "out").rglob("cells/*.json"))
    content = record.read_text()
    record.write_text(content[: len(content) // 2])
    outcome = bench(*arguments)
    assert (outcome.code, record.name in outcome.err) == (2, True)
    record.write_text(content.replace('"n_correct": ', '"n_correct": 1'))
    outcome = bench("leaderboard", "--results", tmp_path / "out")
    assert (outcome.code, "its seal does not match its content" in outcome.err) == (2, True)
    record.write_bytes(resealed(content.replace('"limit": 30', '"limit": 31').encode()))
    outcome = bench("leaderboard", "--results", tmp_path / "out")
    assert (outcome.code, "and its content (" in outcome.err) == (2, True)


def test_a_leaderboard_of_nothing(bench: Bench, tmp_path: Path) -> None:
    outcome = bench("leaderboard", "--results", tmp_path)
    assert (outcome.code, "no runs under" in outcome.err) == (2, True)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("models = [", "is not TOML"),
        ("modles = ['tiny']", "unknown key 'modles'; did you mean 'models'?"),
        ("epochs = 'many'", "many"),
        ("attacks = ['none', 'pgd']", "attacks: 'none' cannot be combined with 'pgd'"),
        ("attacks = []", "no attack given; name at least one, or write 'none'"),
        ("variants = false", "'variants' is not on or off; write a list or a string in place of true or false"),
        ("corruptions = [true]", "'corruptions' is not on or off; write a list or a string"),
        ("epochs = true", "'epochs' is not on or off; write a number or a string"),
        ("audit = false", "'audit' is not on or off; write default, full or none"),
        ("attack-limit = {pgd = true}", "'attack-limit' is not on or off"),
        ("force = 3", "'3' is not a valid boolean"),
        ("no-diagnose = 'yes'", "'no-diagnose' is on or off; write true or false"),
        (
            "no-diagnose = true\ndiagnose = true",
            "'no-diagnose' and 'diagnose' set the same option; write only one of them",
        ),
        ("batch-size = 8\nbatch_size = 9", "'batch-size' and 'batch_size' set the same option"),
        ("no-rank-flagged = true", "unknown key 'no-rank-flagged'; did you mean 'rank-flagged'?"),
    ],
)
def test_bad_config(bench: Bench, tmp_path: Path, content: str, sentence: str) -> None:
    (tmp_path / "c.toml").write_text(content)
    models = ["--models", "resnet18", "--results", tmp_path / "out", "--dry-run"]
    outcome = bench("run", "--config", tmp_path / "c.toml", *models)
    assert (outcome.code, sentence in outcome.err) == (2, True)


def test_a_dry_run_refuses_the_results_path_that_the_run_refuses(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    for more in ((), ("--dry-run",)):
        outcome = bench("run", "--models", "resnet18", "--results", tmp_path / "file", *more)
        assert (outcome.code, "is a file; name a folder" in outcome.err, outcome.out) == (2, True, "")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("corruptions = ['none', 'fog']", "corruptions: 'none' cannot be combined with 'fog'"),
        ("corruptions = false", "'corruptions' is not on or off; write a list or a string"),
        ("corruptions = []", "no corruption given; name at least one, or write 'none'"),
    ],
)
def test_a_bad_list_of_corruptions_in_a_config(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str, sentence: str
) -> None:
    """Without the fixture, which adds ``--corruptions none``."""
    (tmp_path / "c.toml").write_text(content)
    assert invoke(["run", "--config", str(tmp_path / "c.toml"), "--models", "resnet18", "--dry-run"]) == 2
    assert sentence in capsys.readouterr().err


def test_a_plugin_that_takes_a_name_twice(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "twice.py"
    path.write_text(
        "from bench.core.specs import VariantSpec\n"
        "from bench.models.variants import VARIANTS, VariantEntry\n"
        "VARIANTS.register('lpc', VariantEntry(summary='', source='', spec=VariantSpec()), origin=__file__)\n"
    )
    outcome = bench("list", "variants", "--plugin", path)
    assert outcome.code == 2
    assert "bench.models.variants" in outcome.err
    assert str(path) in outcome.err


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("model", "register_model('007', ModelEntry(summary='s', source='s', build=None), __file__)"),
        ("variant", "VARIANTS.register('007', None, origin=__file__)"),
        ("attack", "ATTACKS.register('007', None, origin=__file__)"),
        ("dataset", "DATASETS.register('007', None, origin=__file__)"),
        ("corruption", "CORRUPTIONS.register('007', None, origin=__file__)"),
        ("recipe", "RECIPES.register('007', None, origin=__file__)"),
    ],
)
def test_a_plug_in_may_not_register_what_a_csv_reader_changes(
    kind: str, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "from bench.attacks.corruptions.registry import CORRUPTIONS\n"
        "from bench.attacks.registry import ATTACKS, AttackEntry\n"
        "from bench.data import DATASETS\n"
        "from bench.models.registry import ModelEntry, register_model\n"
        "from bench.models.variants import VARIANTS\n"
        "from bench.planning.recipes import RECIPES\n"
        f"{line}\n",
        encoding="utf-8",
    )
    assert invoke(["run", "--plugin", str(plugin), "--models", "resnet18", "--results", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert f"{kind} name '007' (from {plugin}) cannot be used: a CSV reader parses it as a number; call it" in error
    assert not (tmp_path / "out").exists()
