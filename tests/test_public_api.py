"""The public API is pinned: names, signatures and fields, as listed in public_api.txt.

After a change that is meant, write the list again and name the change in CHANGELOG.md:

python tests/test_public_api.py > tests/public_api.txt
"""

from __future__ import annotations

import dataclasses
import inspect
import subprocess
import sys
from importlib import import_module, metadata
from pathlib import Path

import bench

MODULES = ("bench", "bench.api", "bench.attacks", "bench.data")
#: What plug-ins and scripts import from elsewhere, as README.md, CONTRIBUTING.md and examples/plugin.py do.
FURTHER = (
    "bench.attacks.corruptions.registry.CORRUPTIONS",
    "bench.attacks.corruptions.registry.CorruptionEntry",
    "bench.data.from_python.as_dataset",
    "bench.data.registry.DatasetEntry",
    "bench.data.split.Split",
    "bench.data.split.array_split",
    "bench.diagnostics.registry.DIAGNOSTICS",
    "bench.diagnostics.registry.DiagnosticEntry",
    "bench.models.registry.ModelEntry",
    "bench.models.registry.register_model",
    "bench.models.training_steps.StepContext",
    "bench.models.training_steps.StepEntry",
    "bench.models.training_steps.TRAINING_STEPS",
    "bench.models.training_steps.TrainingBatch",
    "bench.models.variants.VARIANTS",
    "bench.models.variants.VariantEntry",
)
LIST = Path(__file__).with_name("public_api.txt")


def public_api() -> list[str]:
    """Return one line per public name and per field of a public dataclass."""
    names = [f"{module}.{name}" for module in MODULES for name in sorted(import_module(module).__all__)]
    return [line for name in [*names, *FURTHER] for line in _lines(name)]


def _lines(path: str) -> list[str]:
    module, _, name = path.rpartition(".")
    value = getattr(import_module(module), name)
    if inspect.ismodule(value):
        return [f"{path}: module"]
    if dataclasses.is_dataclass(value):
        fields = [f"{path}.{field.name}: {field.type}{_default(field)}" for field in dataclasses.fields(value)]
        return [f"{path}: dataclass", *fields]
    if isinstance(value, type):
        return [f"{path}: class", *(f"{path}.{field}" for field in getattr(value, "_fields", ()))]
    if callable(value):
        signature = inspect.signature(value)
        parameters = [f"{path}({_star(parameter)}{parameter})" for parameter in signature.parameters.values()]
        return [f"{path} -> {signature.return_annotation}", *parameters]
    return [f"{path}: {type(value).__name__}"]


def _star(parameter: inspect.Parameter) -> str:
    return "*, " if parameter.kind is inspect.Parameter.KEYWORD_ONLY else ""


def _default(field: dataclasses.Field[object]) -> str:
    if field.default is dataclasses.MISSING:
        return "" if field.default_factory is dataclasses.MISSING else " = …"
    return " = …" if callable(field.default) else f" = {field.default!r}"


def test_the_public_api_is_as_listed() -> None:
    """See the module's docstring on how to change it."""
    assert public_api() == LIST.read_text(encoding="utf-8").splitlines()


def test_importing_the_package_imports_no_torch() -> None:
    """Nor does asking for the version, which stands once."""
    assert bench.__version__ == metadata.version("collapse-bench")
    code = "import sys, bench; from bench.cli import invoke; invoke(['--version']); print('torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines() == [f"bench, version {bench.__version__}", "False"]


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")
    print("\n".join(public_api()))
