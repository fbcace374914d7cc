"""``lightning_args={'strategy': ...}``: names and Lightning's objects, honoured whole or refused with the reason."""

import pickle
from datetime import timedelta
from typing import Any

import pytest
import torch
from lightning.pytorch.strategies import (
    DDPStrategy,
    FSDPStrategy,
    ModelParallelStrategy,
    SingleDeviceStrategy,
    StrategyRegistry,
)

from compat._lightning.flags import Flags, read_flags
from compat.exceptions import CompatError, InvalidArgumentError, InvalidTypeError, RefusedError


class Own(DDPStrategy):
    """Somebody's own strategy."""


def read(strategy: Any, gpu_mode: str = "ddp") -> tuple[Flags, list[CompatError]]:
    """Read one strategy."""
    return read_flags({"strategy": strategy}, gpu_mode=gpu_mode)


@pytest.mark.parametrize(
    ("strategy", "flags"),
    [
        ("ddp", Flags("ddp")),
        ("DDP_spawn", Flags("ddp")),
        ("ddp_find_unused_parameters_true", Flags("ddp", model_args={"find_unused_parameters": True})),
        ("ddp_spawn_find_unused_parameters_false", Flags("ddp", model_args={"find_unused_parameters": False})),
        ("fsdp", Flags("fsdp")),
        (DDPStrategy(), Flags("ddp")),
        (DDPStrategy(start_method="spawn", static_graph=True), Flags("ddp", model_args={"static_graph": True})),
        (
            DDPStrategy(timeout=timedelta(seconds=9), process_group_backend="gloo"),
            Flags("ddp", timeout=timedelta(seconds=9), backend="gloo"),
        ),
        (FSDPStrategy(), Flags("fsdp")),
        (FSDPStrategy(timeout=timedelta(seconds=9)), Flags("fsdp", timeout=timedelta(seconds=9))),
    ],
)
def test_a_strategy_of_several_processes_is_read_whole(strategy: Any, flags: Flags) -> None:
    assert read(strategy) == (flags, [])
    assert pickle.loads(pickle.dumps(flags)) == flags


@pytest.mark.parametrize(
    ("strategy", "error", "text"),
    [
        ("dddp", InvalidArgumentError, "'dddp'} is no strategy. Did you mean 'ddp'.* Use 'ddp' or 'fsdp'"),
        (3, InvalidTypeError, "is a int. Use 'ddp' or 'fsdp'"),
        ("ddp_fork", RefusedError, "Forked processes hang .* Use 'ddp', which starts new processes."),
        ("ddp_notebook_find_unused_parameters_true", RefusedError, "Use 'ddp', which works in notebooks, too."),
        ("deepspeed_stage_3", RefusedError, "takes over the backward pass.* Use 'fsdp'"),
        ("fsdp_cpu_offload", RefusedError, "Weights that wait on the CPU are not served. Use 'fsdp'"),
        ("single_tpu", RefusedError, "trains on the CPU and on CUDA. Leave it out"),
        (Own(), RefusedError, r"Own\(...\)} is not served. Its own methods would not run.* plain DDPStrategy"),
        (ModelParallelStrategy(), RefusedError, r"ModelParallelStrategy\(...\)} is not served. It wraps Lightning's"),
        (SingleDeviceStrategy(), RefusedError, "The loop is told its device: use 'accelerator': 'cpu'"),
        (DDPStrategy(ddp_comm_hook=print), RefusedError, r"It sets ddp_comm_hook \(the loop averages .* by hand"),
        (DDPStrategy(model_averaging_period=2), RefusedError, r"It sets model_averaging_period \(.* in every batch"),
        (DDPStrategy(start_method="fork"), RefusedError, r"It sets start_method \(the loop starts new processes"),
        (DDPStrategy(parallel_devices=[torch.device("cpu")]), RefusedError, r"It sets parallel_devices \(the loop has"),
        (FSDPStrategy(sharding_strategy="SHARD_GRAD_OP"), RefusedError, r"It sets sharding_strategy \(weights, grad"),
        (
            FSDPStrategy(state_dict_type="sharded"),
            RefusedError,
            r"It sets state_dict_type \(a checkpoint holds the full",
        ),
        (FSDPStrategy(cpu_offload=True), RefusedError, r"It sets cpu_offload \(weights that wait"),
        (FSDPStrategy(forward_prefetch=True), RefusedError, r"It sets forward_prefetch \(the loop has nothing"),
        (FSDPStrategy(auto_wrap_policy={torch.nn.Linear}), RefusedError, r"It sets auto_wrap_policy \(a batch gathers"),
    ],
)
def test_what_cannot_be_honoured_is_refused_with_the_reason(strategy: Any, error: type[Exception], text: str) -> None:
    flags, (found,) = read(strategy)
    assert flags == Flags()
    with pytest.raises(error, match=text):
        raise found
    assert type(found) is error


def test_every_name_that_lightning_knows_is_served_or_refused() -> None:
    for name in StrategyRegistry.available_strategies():
        _, problems = read(name)
        assert all(type(found) is RefusedError or "contradicts" in str(found) for found in problems), name


@pytest.mark.parametrize(
    ("args", "gpu_mode", "text"),
    [
        ({"strategy": "ddp"}, "single", "{'strategy': 'ddp'} contradicts gpu_mode='single'. .* set gpu_mode='ddp'"),
        ({"strategy": "ddp"}, "dp", "'ddp'} contradicts gpu_mode='dp'"),
        ({"strategy": DDPStrategy()}, "single", r"{'strategy': DDPStrategy\(...\)} contradicts gpu_mode='single'"),
        ({"strategy": "fsdp"}, "single", "'fsdp'} contradicts gpu_mode='single'"),
        ({"strategy": "dp"}, "single", "'dp'} contradicts gpu_mode='single'. Set gpu_mode='dp'"),
        ({"strategy": "dp"}, "ddp", "'dp'} contradicts gpu_mode='ddp'"),
        ({"strategy": "single_device"}, "ddp", "'single_device'} contradicts gpu_mode='ddp'. .* one process"),
        ({"strategy": "single_device"}, "dp", "'single_device'} contradicts gpu_mode='dp'"),
        ({"devices": 2}, "single", "{'devices': 2} contradicts gpu_mode='single'. Several .* gpu_mode='ddp'"),
        ({"devices": 2}, "dp", "{'devices': 2} contradicts gpu_mode='dp', whose devices fit takes: .*device_ids"),
        ({"num_nodes": 2}, "single", "{'num_nodes': 2} contradicts gpu_mode='single'"),
        ({"num_nodes": 2}, "dp", "{'num_nodes': 2} contradicts gpu_mode='dp'"),
    ],
)
def test_a_contradiction_with_the_mode_names_both(args: dict[str, Any], gpu_mode: str, text: str) -> None:
    _, (found,) = read_flags(args, gpu_mode=gpu_mode)
    with pytest.raises(InvalidArgumentError, match=text):
        raise found


@pytest.mark.parametrize(
    ("args", "gpu_mode"),
    [
        ({"strategy": "dp"}, "dp"),
        ({"strategy": "single_device"}, "single"),
        ({"devices": 1, "num_nodes": 1}, "single"),
        ({"devices": 1, "num_nodes": 1}, "dp"),
        ({"devices": 2, "num_nodes": 2, "strategy": "ddp"}, "ddp"),
    ],
)
def test_what_says_the_same_as_the_mode_is_taken(args: dict[str, Any], gpu_mode: str) -> None:
    assert read_flags(args, gpu_mode=gpu_mode)[1] == []
