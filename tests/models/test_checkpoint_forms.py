"""Weights in the forms that training scripts save: each must give the logits of the network that was saved."""

from __future__ import annotations

import argparse
import collections
import datetime
import pathlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.utils import CheckpointSaver, ModelEmaV3
from tiny_networks import TinyNetwork, logits
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from bench.core.errors import BenchError
from bench.models.weights import fitting_view, load_weights, mismatch, read_checkpoint

SAVED = TinyNetwork(seed=1)
OTHER = TinyNetwork(seed=2)  # what must not be taken
OPTIMIZER = torch.optim.SGD(SAVED.parameters(), lr=0.1, momentum=0.9)


def loaded(path: Path) -> nn.Module:
    network = TinyNetwork(seed=3)
    assert load_weights(network, read_checkpoint(path).state) == ""
    return network


def check(path: Path, content: bytes) -> None:
    torch.save(content, path)
    assert torch.equal(logits(loaded(path)), logits(SAVED))


def prefixed(prefix: str, state: Any = None) -> Any:
    return {prefix + key: value for key, value in (state or SAVED.state_dict()).items()}


PREFIXES = (
    "", "module.", "_orig_mod.", "model.", "net.", "network.", "backbone.", "module._orig_mod.", "_orig_mod.module.",
    "model.module.module._orig_mod.net.", "classifier.", "_fsdp_wrapped_module.",
)  # fmt: skip
WRAPPERS = {
    "bare": lambda state: state,
    "state_dict": lambda state: {"state_dict": state},
    "model": lambda state: {"model": state, "optimizer": OPTIMIZER.state_dict(), "epoch": 3},
    "model_state_dict": lambda state: {"epoch": 3, "model_state_dict": state, "optimizer_state_dict": {}, "loss": 0.1},
    "net": lambda state: {"net": state, "acc": 93.1, "epoch": 3},
    "network": lambda state: {"network": state},
    "module": lambda state: {"module": state, "lr_scheduler": {"step": torch.tensor(1)}},
    "unknown key": lambda state: {"best_weights": state, "criterion": {"weight": torch.ones(2, 2)}, "epoch": 3},
    "nested": lambda state: {"checkpoint": {"model": {"state_dict": state}}, "epoch": 3},
    "lightning": lambda state: {
        "state_dict": {**state, "train_acc.tp": torch.zeros(5), "criterion.weight": torch.ones(5)},
        "hyper_parameters": {"lr": 0.1, "arch": "resnet18"},
        "callbacks": {"EarlyStopping": {"best_score": torch.tensor(0.9)}},
        "optimizer_states": [OPTIMIZER.state_dict()],
        "loops": {"fit_loop": {"state_dict": {}}},
        "pytorch-lightning_version": "2.4.0",
    },
    "timm": lambda state: {
        "epoch": 3, "arch": "resnet18", "state_dict": state, "optimizer": OPTIMIZER.state_dict(), "version": 2,
        "args": argparse.Namespace(model="resnet18", mean=None, img_size=32), "metric": 93.1,
    },
    "flat": lambda state: {**state, "epoch": 3, "acc": 93.1},
    "ema": lambda state: {"state_dict": OTHER.state_dict(), "state_dict_ema": state},
    "deit": lambda state: {"model": OTHER.state_dict(), "model_ema": state, "args": argparse.Namespace(model="deit")},
    "averaged": lambda state: {"net": OTHER.state_dict(), "averaged": {"n_averaged": torch.tensor(3), **state}},
    "shadow": lambda state: {"model": OTHER.state_dict(), "ema": {"decay": 0.999, "shadow": state}},
    "ema_state_dict": lambda state: {"model": {"net": OTHER.state_dict(), "ema_state_dict": state}},
}  # fmt: skip


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_wrapped_state_dict_gives_the_saved_network(tmp_path: Path, wrapper: Any, prefix: str) -> None:
    check(tmp_path / "c.pth", WRAPPERS[wrapper](prefixed(prefix)))


def test_the_matrix_has_other_weights_that_could_be_taken() -> None:
    assert not torch.equal(logits(SAVED), logits(OTHER))
    assert not torch.equal(logits(SAVED), logits(TinyNetwork(seed=3)))


REAL = {
    "compiled": lambda: torch.compile(SAVED).state_dict(),
    "data parallel of compiled": lambda: nn.DataParallel(torch.compile(SAVED)).state_dict(),
    "swa": lambda: AveragedModel(SAVED).state_dict(),
    "swa of data parallel": lambda: {
        "model": OTHER.state_dict(), "swa_model": AveragedModel(nn.DataParallel(SAVED)).state_dict()
    },
    "data parallel of swa": lambda: nn.DataParallel(AveragedModel(SAVED)).state_dict(),
    "timm ema": lambda: {"model": OTHER.state_dict(), "ema": ModelEmaV3(SAVED).state_dict()},
    "compiled part": lambda: {k.replace("conv.", "conv._orig_mod."): v for k, v in SAVED.state_dict().items()},
    "ema beside the network": lambda: {
        **prefixed("model.", OTHER.state_dict()),
        **prefixed("ema_model.module."),
        "ema_model.n_averaged": torch.tensor(7),
    },
}  # fmt: skip


@pytest.mark.parametrize("form", REAL)
def test_the_state_dict_of_a_real_wrapper_gives_the_saved_network(tmp_path: Path, form: str) -> None:
    check(tmp_path / "c.pth", REAL[form]())


def test_a_file_of_timms_own_saver_is_read_with_its_facts(tmp_path: Path) -> None:
    model = timm.create_model("test_resnet", num_classes=4)
    args = argparse.Namespace(model="test_resnet", mean=[0.1, 0.2, 0.3], std=(1.0, 1.0, 1.0), input_size=(3, 64, 64))
    saver = CheckpointSaver(model, torch.optim.SGD(model.parameters(), lr=0.1), args, checkpoint_dir=str(tmp_path))
    saver.save_checkpoint(5, metric=np.float64(0.5))
    checkpoint = read_checkpoint(tmp_path / "last.pth.tar")
    other = timm.create_model("test_resnet", num_classes=4)
    assert load_weights(other, checkpoint.state) == ""
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(other.eval()(image), model.eval()(image))
    facts = checkpoint.facts
    assert (facts.arch, facts.epoch, facts.mean, facts.image_size) == ("test_resnet", 5, (0.1, 0.2, 0.3), 64)


@pytest.mark.parametrize("legacy", [False, True])
def test_harmless_objects_beside_the_weights_do_not_hinder(tmp_path: Path, legacy: Any) -> None:
    beside = {
        "args": argparse.Namespace(out=pathlib.PurePosixPath("runs/1"), seed=np.int64(3), sizes=collections.deque([1])),
        "history": collections.defaultdict(list, loss=[1.0]),
        "best": np.float32(0.25),
        "mean": np.array([0.5, 0.25, 0.125]),
        "date": datetime.datetime(2024, 5, 1, tzinfo=datetime.timezone.utc),  # noqa: UP017 - as it is pickled
        "dtype": torch.float16,
        "device": torch.device("cpu"),
        "shape": torch.Size([1, 3]),
    }
    path = tmp_path / "c.pth"
    torch.save({"state_dict": SAVED.state_dict(), **beside}, path, _use_new_zipfile_serialization=not legacy)
    assert torch.equal(logits(loaded(path)), logits(SAVED))
    facts = read_checkpoint(path).facts
    assert facts.mean == (0.5, 0.25, 0.125)
    assert (facts.values["best"], facts.values["args.seed"], facts.values["args.out"]) == (0.25, 3, "runs/1")


def test_class_names_are_read_in_the_order_of_the_logits(tmp_path: Path) -> None:
    for name, beside in {
        "classes": {"classes": ["cat", "ape"]},
        "class_to_idx": {"class_to_idx": {"ape": 1, "cat": 0}},
        "id2label": {"config": {"id2label": {1: "ape", 0: "cat"}}},
    }.items():
        torch.save({"model": SAVED.state_dict(), **beside}, tmp_path / f"{name}.pth")
        assert read_checkpoint(tmp_path / f"{name}.pth").facts.class_names == ("cat", "ape"), name


def test_classes_with_gaps_have_no_order(tmp_path: Path) -> None:
    torch.save({"model": SAVED.state_dict(), "class_to_idx": {"ape": 1, "cat": 3}}, tmp_path / "c.pth")
    assert read_checkpoint(tmp_path / "c.pth").facts.class_names is None


def test_the_metadata_of_safetensors_are_facts(tmp_path: Path) -> None:
    metadata = {"arch": "resnet18", "classes": '["cat", "ape"]', "mean": "[0.5, 0.5, 0.5]", "format": "pt"}
    save_file({f"module.{k}": v for k, v in SAVED.state_dict().items()}, tmp_path / "w.bin", metadata=metadata)
    facts = read_checkpoint(tmp_path / "w.bin").facts  # told from its bytes
    assert (facts.arch, facts.class_names, facts.mean) == ("resnet18", ("cat", "ape"), (0.5, 0.5, 0.5))
    assert torch.equal(logits(loaded(tmp_path / "w.bin")), logits(SAVED))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floating_point_types_are_loaded_into_float32_with_a_note(tmp_path: Path, dtype: Any) -> None:
    torch.save(TinyNetwork(seed=1).to(dtype).state_dict(), tmp_path / "c.pth")
    checkpoint = read_checkpoint(tmp_path / "c.pth")
    assert {v.dtype for k, v in checkpoint.state.items() if "tracked" not in k} == {torch.float32}
    assert checkpoint.notes == (f"weights in {str(dtype)[6:]} were loaded into float32",)
    rounded = TinyNetwork(seed=1).to(dtype).to(torch.float32)
    assert torch.equal(logits(loaded(tmp_path / "c.pth")), logits(rounded))


def test_a_choice_between_weights_is_noted(tmp_path: Path) -> None:
    torch.save({"model": OTHER.state_dict(), "model_ema": SAVED.state_dict()}, tmp_path / "c.pth")
    assert read_checkpoint(tmp_path / "c.pth").notes == (
        "the averaged weights under 'model_ema' were used, not those under 'model'",
    )
    torch.save({"model": SAVED.state_dict(), "ema": {"shadow_params": [torch.ones(2)]}}, tmp_path / "c.pth")
    assert read_checkpoint(tmp_path / "c.pth").notes == (
        "the averaged weights under 'ema' have no names and were not used",
    )


class OwnPrefix(nn.Module):
    """A network whose own weights begin with a wrapper's prefix."""

    def __init__(self) -> None:
        super().__init__()
        self.module = TinyNetwork(seed=1)

    def forward(self, images: Tensor) -> Tensor:
        return self.module(images)


@pytest.mark.parametrize("prefix", ["", "module.", "module._orig_mod."])
def test_a_prefix_that_the_network_itself_has_stays(tmp_path: Path, prefix: str) -> None:
    torch.save(prefixed(prefix, OwnPrefix().state_dict()), tmp_path / "c.pth")
    network = OwnPrefix()
    nn.init.zeros_(network.module.fc.weight)
    state = read_checkpoint(tmp_path / "c.pth").state
    assert mismatch(network, fitting_view(network, state).state) == ""
    assert load_weights(network, state) == ""
    assert torch.equal(logits(network), logits(SAVED))


def test_the_version_numbers_of_a_state_dict_follow_its_keys(tmp_path: Path) -> None:
    torch.save({"model": nn.DataParallel(SAVED).state_dict()}, tmp_path / "c.pth")
    view = fitting_view(SAVED, read_checkpoint(tmp_path / "c.pth").state)
    assert view.state._metadata == SAVED.state_dict()._metadata


def test_a_prefix_of_some_keys_is_not_removed(tmp_path: Path) -> None:
    state = SAVED.state_dict()
    state["module.fc.weight"] = state.pop("fc.weight")
    torch.save(state, tmp_path / "c.pth")
    trouble = load_weights(TinyNetwork(), read_checkpoint(tmp_path / "c.pth").state)
    assert trouble == "1 weight is missing (fc.weight), 1 is unexpected (module.fc.weight)"


def test_two_state_dicts_without_a_rule_are_one_sentence(tmp_path: Path) -> None:
    torch.save({"student": SAVED.state_dict(), "teacher": OTHER.state_dict()}, tmp_path / "c.pth")
    with pytest.raises(BenchError, match=r"several state dicts, under 'student' and 'teacher'; save only the one"):
        read_checkpoint(tmp_path / "c.pth")


def test_weights_of_old_torch_without_batch_counters_are_loaded(tmp_path: Path) -> None:
    state = {k: v for k, v in SAVED.state_dict().items() if "num_batches_tracked" not in k}
    check(tmp_path / "c.pth", {"state_dict": prefixed("module.", state)})


def test_extra_state_that_the_network_does_not_have_is_left_out(tmp_path: Path) -> None:
    check(tmp_path / "c.pth", {"state_dict": {**prefixed("module."), "module.fc._extra_state": {"version": 3}}})
