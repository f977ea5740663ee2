"""The hash of a plug-in covers every module that it imports from its own folder."""

from __future__ import annotations

import os
import py_compile
import struct
import subprocess
import sys
from importlib.util import MAGIC_NUMBER, cache_from_source
from pathlib import Path

import pytest

from bench.core.errors import BenchError
from bench.runtime.plugin import content_sha, load_plugins
from bench.runtime.plugin_imports import imported_files

FILES = {
    "plug.py": """
import importlib, pathlib, sys
sys.path.insert(0, str(pathlib.Path(__file__).parent))
import near
from near import *
from space import util
import space.folder.deep
def late():
    if False:
        from package.inner import name
    from starred import *
    importlib.import_module("by_name")
    __import__("by_builtin")
    from broken import nothing
""",
    "near.py": "import next",
    "next.py": "VALUE = 1",
    "space/util.py": "from . import beside\nfrom .folder import deeper\n",  # packages without __init__.py
    "space/beside.py": "VALUE = 1",
    "space/folder/deep.py": "VALUE = 1",
    "space/folder/deeper.py": "VALUE = 1",
    "package/__init__.py": "",
    "package/inner.py": "from .. import above\nfrom ..near import VALUE\nname = 1\n",
    "starred/__init__.py": "__all__ = ['part']",
    "starred/part.py": "VALUE = 1",
    "by_name.py": "VALUE = 1",
    "by_builtin.py": "import package",
    "broken.py": "this is not Python",
}
OTHERS = {"unused.py": "VALUE = 1", "space/unused.py": "VALUE = 1", ".venv/lib/site-packages/near.py": "VALUE = 1"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in {**FILES, **OTHERS}.items():
        path = tmp_path / "own" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "own"


@pytest.mark.parametrize("name", [*FILES, *OTHERS])
def test_an_edit_of_an_imported_file_is_an_edit_of_the_plugin(folder: Path, name: str) -> None:
    before = content_sha(folder / "plug.py", [])
    (folder / name).write_text((folder / name).read_text() + "\nOTHER = 2\n")
    assert (content_sha(folder / "plug.py", []) != before) == (name in FILES)


def test_a_module_behind_a_link_is_followed(folder: Path, tmp_path: Path) -> None:
    """The link lies in the folder, and the module itself elsewhere."""
    (tmp_path / "elsewhere.py").write_text("VALUE = 1")
    (folder / "next.py").unlink()
    (folder / "next.py").symlink_to(tmp_path / "elsewhere.py")
    before = content_sha(folder / "plug.py", [])
    (tmp_path / "elsewhere.py").write_text("VALUE = 2")
    assert content_sha(folder / "plug.py", []) != before


def test_a_subfolder_on_the_path_is_searched(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Installed packages in the folder are not part of the plug-in, though they are on the path."""
    (folder / "lib").mkdir()
    (folder / "lib" / "inside.py").write_text("VALUE = 1")
    (folder / ".venv/lib/site-packages/inside.py").write_text("VALUE = 1")
    (folder / "next.py").write_text("def late():\n    import inside\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(folder / "lib"), str(folder / ".venv/lib/site-packages")])
    before = content_sha(folder / "plug.py", [])
    (folder / ".venv/lib/site-packages/inside.py").write_text("VALUE = 2")
    assert content_sha(folder / "plug.py", [str(folder / ".venv/lib/site-packages/inside.py")]) == before
    (folder / "lib" / "inside.py").write_text("VALUE = 2")
    assert content_sha(folder / "plug.py", []) != before


def test_code_that_runs_is_the_code_that_is_hashed(tmp_path: Path) -> None:
    """Python would run the old code after an edit that keeps size and time of a file."""
    helper, plug = tmp_path / "helper_of_this_test.py", tmp_path / "plug.py"
    plug.write_text(
        f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\nimport helper_of_this_test as h\nprint(h.VALUE)"
    )
    program = "from pathlib import Path; from bench.runtime.plugin import load_plugins; "
    program += f"load_plugins([Path({str(plug)!r})])"
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHONDONT", "PYTHONPYCACHE"))}
    for value in ("1", "2"):
        helper.write_text(f"VALUE = {value}\n")
        os.utime(helper, ns=(10**18, 10**18))
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        assert done.stdout == f"{value}\n"
        py_compile.compile(str(helper))  # as another program that imports the helper


def test_a_module_that_names_a_missing_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For example, torch.classes names the file _classes.py, which looks like a file in the current folder."""
    monkeypatch.chdir(tmp_path)
    code = "import sys, types\nsys.modules['missing'] = types.ModuleType('missing')\n"
    Path("plug.py").write_text(code + "sys.modules['missing'].__file__ = 'missing.py'\n")
    load_plugins([Path("plug.py")])
    del sys.modules["missing"]


def test_compiled_files_beside_a_plugin_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiled file that fits its source by size and time may hold other code, or a tuple of 2^31 entries."""
    bomb = b"(" + (2**31 - 1).to_bytes(4, "little")
    for name, imports in (("plug", "import helper_with_a_bomb.inner"), ("helper_with_a_bomb/inner", "VALUE = 1")):
        source = tmp_path / f"{name}.py"
        source.parent.mkdir(exist_ok=True)
        source.write_text(imports)
        compiled = Path(cache_from_source(str(source)))
        compiled.parent.mkdir()
        status = source.stat()
        head = MAGIC_NUMBER + struct.pack("<III", 0, int(status.st_mtime), status.st_size)
        compiled.write_bytes(head + bomb)
    monkeypatch.syspath_prepend(str(tmp_path))
    load_plugins([tmp_path / "plug.py"])
    assert sys.modules["helper_with_a_bomb.inner"].VALUE == 1
    assert all(path.read_bytes().endswith(bomb) for path in tmp_path.rglob("*.pyc")), "none is written"


def test_a_name_that_no_file_can_have_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "plugin.py").write_text(f"import {'x' * 300}\n__import__('{'y.' * 3000}')\nimport other\n")
    (tmp_path / "other.py").write_text("")
    assert imported_files(tmp_path / "plugin.py", [tmp_path]) == {tmp_path / "other.py"}


def hashes_of(plugins: list[Path], above: Path) -> list[str]:
    """The hashes of plug-ins that a new process loads with ``above`` on its path."""
    program = (
        "import sys; from pathlib import Path; from bench.runtime import plugin; sys.path.insert(0, sys.argv[1]); "
    )
    program += "plugin.load_plugins(map(Path, sys.argv[2:])); print(*plugin._LOADED.values())"
    command = [sys.executable, "-c", program, str(above), *map(str, plugins)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHONDONT", "PYTHONPYCACHE"))}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.split()


def test_a_package_of_a_folder_above_is_part_of_each_plugin(tmp_path: Path) -> None:
    """The current folder, here above, is on the path of python -m. The second plug-in finds all modules loaded."""
    imports = "from own import helper\nfrom own.more import *\nfrom own.part import VALUE\n"
    late = "def late():\n    from own import helper\n    from own.more import sub\n    from own.part import VALUE\n"
    files = {"a.py": imports, "b.py": imports, "c.py": late, "more/__init__.py": "__all__ = ['sub']"}
    edited = ["helper.py", "part/__init__.py", "__init__.py", "more/sub/__init__.py"]
    for name, text in {**files, **dict.fromkeys(edited, "VALUE = 1")}.items():
        (tmp_path / "own" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "own" / name).write_text(text)
    (tmp_path / "link").symlink_to(tmp_path)
    plugins = [tmp_path / "own" / name for name in ("a.py", "b.py", "c.py")]
    found = [hashes_of(plugins, tmp_path)]
    for name in edited:
        (tmp_path / "own" / name).write_text("VALUE = 2")
        found.append(hashes_of(plugins, tmp_path / "link"))
    assert [len(set(shas)) for shas in zip(*found, strict=True)] == [5, 5, 5]
    assert not list(tmp_path.rglob("*.pyc")), "none is written, also for the folder as a package"


def test_a_relative_name_is_looked_up_in_its_package(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    for name in ("inner.py", "package/inner.py"):
        (tmp_path / name).write_text("")
    (tmp_path / "plug.py").write_text("import importlib\nimportlib.import_module('.inner', 'package')\n")
    assert imported_files(tmp_path / "plug.py", [tmp_path]) == {tmp_path / "package/inner.py"}


def test_code_that_changes_after_it_was_hashed_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function imports a module when it is called, long after the plug-in was loaded."""
    helper, plug = tmp_path / "helper_of_late_import.py", tmp_path / "plug_with_late_import.py"
    plug.write_text("def call():\n    import helper_of_late_import as h\n    return h.VALUE\n")
    helper.write_text("VALUE = 1")
    monkeypatch.syspath_prepend(str(tmp_path))
    load_plugins([plug])
    (module,) = (m for name, m in sys.modules.items() if name.startswith("bench_plugin_plug_with_late_import"))
    helper.write_text("VALUE = 2")
    with pytest.raises(ImportError, match=r"helper_of_late_import\.py changed after it was loaded"):
        module.call()
    helper.write_text("VALUE = 1")
    assert module.call() == 1


def test_code_that_changes_before_it_is_hashed_is_refused(tmp_path: Path) -> None:
    plug = tmp_path / "plug.py"
    plug.write_text("from pathlib import Path\nPath(__file__).write_text('VALUE = 2')\n")
    with pytest.raises(BenchError, match=r"plug\.py changed after it was loaded"):
        load_plugins([plug])


def test_a_compiled_file_without_source_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "compiled_helper_of_this_test.py"
    source.write_text("VALUE = 1")
    py_compile.compile(str(source), cfile=str(source.with_suffix(".pyc")))
    source.unlink()
    plug = tmp_path / "plug.py"
    plug.write_text("import compiled_helper_of_this_test")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(BenchError, match="No module named 'compiled_helper_of_this_test'"):
        load_plugins([plug])
    with pytest.raises(BenchError, match="is a compiled file, which is never run; give its source"):
        load_plugins([source.with_suffix(".pyc")])
