"""``lightning_args``: what is taken, what is refused and why, and what it contradicts."""

import inspect
import pickle
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping

from compat import AbstractModelFeedDefinition, ModelWrap, TrainLoop
from compat._lightning import flags as flags_module
from compat._lightning.flag_limits import Limits
from compat._lightning.flag_refused import REFUSED
from compat._lightning.flags import Flags, ddp_settings, read_flags
from compat.exceptions import CompatError, InvalidArgumentError, InvalidTypeError, QuirkWarning, RefusedError
from tests.toys import Linear, batches, make_loop

STOPPING = EarlyStopping("loss")


def problem(lightning_args: Any, **others: Any) -> CompatError:
    """Return the only problem of some settings."""
    (found,) = read_flags(lightning_args, **others)[1]
    return found


def taken(lightning_args: Any, **others: Any) -> Flags:
    """Return settings without a problem."""
    flags, problems = read_flags(lightning_args, **others)
    assert problems == []
    return flags


# --- keys -----------------------------------------------------------------------------------------------------------


# What Trainer has got since the oldest Lightning that is supported.
SINCE_2_4 = {"enable_autolog_hparams", "model_registry"}


def trainer_parameters() -> dict[str, inspect.Parameter]:
    """Return the arguments of this Lightning's Trainer."""
    parameters = dict(inspect.signature(Trainer.__init__).parameters)
    del parameters["self"]
    return parameters


def test_every_argument_of_the_trainer_is_taken_or_refused_and_nothing_else_is() -> None:
    assert set(flags_module.SERVED) & set(REFUSED) == set()
    assert len(flags_module.SERVED) == len(set(flags_module.SERVED))
    assert {*flags_module.SERVED, *REFUSED} - set(trainer_parameters()) <= SINCE_2_4
    assert set(trainer_parameters()) <= {*flags_module.SERVED, *REFUSED}


def test_the_defaults_are_those_of_the_trainer() -> None:
    theirs = {name: parameter.default for name, parameter in trainer_parameters().items()}
    ours = {name: value for name, value in flags_module._DEFAULTS.items() if name not in SINCE_2_4 - theirs.keys()}
    assert {name: value for name, value in theirs.items() if value is not None} == ours


def test_every_default_of_the_trainer_asks_for_nothing_and_is_never_refused() -> None:
    for gpu_mode in ("single", "dp", "ddp"):
        for name, parameter in trainer_parameters().items():
            assert taken({name: parameter.default}, use_amp=True, gpu_mode=gpu_mode, cuda_device_idx=1) == Flags()
        everything = {name: parameter.default for name, parameter in trainer_parameters().items()}
        assert taken(everything, use_amp=True, gpu_mode=gpu_mode, cuda_device_idx=1) == Flags()
        assert taken(dict.fromkeys(everything), gpu_mode=gpu_mode) == Flags()


def test_a_value_that_equals_a_default_but_is_of_another_type_is_looked_at() -> None:
    assert isinstance(problem({"accumulate_grad_batches": True}), RefusedError)
    assert isinstance(problem({"fast_dev_run": 0.0}), InvalidTypeError)


@pytest.mark.parametrize(
    ("lightning_args", "error", "text"),
    [
        ([("precision", 32)], InvalidTypeError, "lightning_args is a list. Pass a dict .*such as {'precision': 'bf16-"),
        ("ddp", InvalidTypeError, "lightning_args is a str. Pass a dict"),
        ({"max_epochs": 3}, RefusedError, r"'max_epochs': 3} is not served. .* Use fit\(num_epochs=\)"),
        ({"precison": 16}, InvalidTypeError, "'precison', which is no argument of .* Did you mean 'precision'"),
        ({7: 16}, InvalidTypeError, "has 7, which is no argument of Lightning's Trainer. Taken are accelerator, bare"),
        ({"gradient_clip": 1}, InvalidTypeError, "'gradient_clip', which .* Did you mean 'gradient_clip_"),
        ({"inference_mode": 1}, InvalidTypeError, "'inference_mode': 1} is a int. Use True or False."),
        ({"precision": True}, InvalidTypeError, "True} is a bool. Use '32-true', '16-mixed' or 'bf16-mixed'"),
        ({"precision": 8}, InvalidArgumentError, "8} is no precision. Use '32-true'"),
        ({"precision": "64-true"}, RefusedError, r"prepares its batches by itself.*model.to\(torch.float64\) before"),
        ({"precision": 64}, RefusedError, r"with .to\(torch.float64\) in get_loss and get_predictions"),
        ({"precision": "bf16-true"}, RefusedError, r"model.to\(torch.bfloat16\)"),
        ({"precision": "16-true"}, RefusedError, r"model.to\(torch.float16\)"),
        ({"precision": "transformer-engine"}, RefusedError, "NVIDIA's Transformer Engine. Replace them in the model"),
    ],
)
def test_a_bad_setting_is_named_with_what_is_allowed(lightning_args: Any, error: type[CompatError], text: str) -> None:
    with pytest.raises(error, match=text) as raised:
        make_loop(lightning_args=lightning_args)
    assert type(raised.value) is error


def test_all_problems_of_a_constructor_are_raised_at_once() -> None:
    wrong = {
        "logger": "csv", "precision": 8, "devices": 0, "strategy": "dpp", "max_steps": 3, "limit_val_batches": -1,
        "plugins": "x", "profilr": 1,
    }  # fmt: skip
    with pytest.raises(InvalidArgumentError) as raised:
        make_loop(gpu_mode="no", lightning_args=wrong)
    assert str(raised.value).startswith("9 problems:")
    for name in wrong:
        assert f"{name!r}" in str(raised.value)
    assert "gpu_mode='no'" in str(raised.value)


def test_what_is_handed_on_is_sorted_by_who_takes_it() -> None:
    given = {
        "min_epochs": 2, "logger": False, "fast_dev_run": 3, "limit_test_batches": 4, "inference_mode": False,
        "callbacks": [STOPPING], "max_steps": -1, "num_sanity_val_steps": 0,
    }  # fmt: skip
    flags = taken(given)
    assert flags.trainer == {"min_epochs": 2, "logger": False, "fast_dev_run": 3}
    assert flags.limits == Limits(test=4, fast_dev_run=3)
    assert flags.callbacks == (STOPPING,)
    assert (flags.plugins, flags.strategy, flags.devices) == ((), "auto", None)


def test_settings_travel_to_other_processes(tmp_path: Any) -> None:
    from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor
    from lightning.pytorch.loggers import CSVLogger
    from lightning.pytorch.plugins.io import AsyncCheckpointIO, TorchCheckpointIO

    assert isinstance(problem({"plugins": [TorchCheckpointIO(), AsyncCheckpointIO()]}), InvalidArgumentError)
    flags = taken(
        {
            "logger": CSVLogger(tmp_path),
            "callbacks": [EarlyStopping("val_loss"), LearningRateMonitor()],
            "plugins": TorchCheckpointIO(),
            "max_time": {"minutes": 1},
            "limit_val_batches": 0.5,
            "profiler": "simple",
        }
    )
    there = pickle.loads(pickle.dumps(flags))
    assert there.trainer["logger"].save_dir == flags.trainer["logger"].save_dir
    assert [type(each) for each in there.callbacks] == [EarlyStopping, LearningRateMonitor]
    assert isinstance(there.plugins[0], TorchCheckpointIO)
    assert (there.trainer["max_time"], there.limits) == ({"minutes": 1}, Limits(val=0.5))


def test_reading_settings_does_not_import_lightning() -> None:
    program = (
        "import sys\n"
        "from compat._lightning.flags import read_flags\n"
        "given = {'logger': True, 'profiler': 'simple', 'max_time': '00:00:01:00', 'limit_val_batches': 2,\n"
        "         'callbacks': [object()], 'fast_dev_run': True, 'deterministic': 'warn', 'max_epochs': 2,\n"
        "         'plugins': object(), 'default_root_dir': '.', 'enable_checkpointing': False, 'overfit_batches': 1}\n"
        "flags, problems = read_flags(given)\n"
        "print(len(problems), 'lightning' in sys.modules, 'torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["3", "False", "True"]


def test_lightning_args_are_keyword_only_and_change_nothing_by_default() -> None:
    parameter = inspect.signature(TrainLoop).parameters["lightning_args"]
    assert (parameter.kind, parameter.default) == (inspect.Parameter.KEYWORD_ONLY, None)
    state = make_loop()._compat
    assert state.flags == Flags()
    assert state.autocast_dtype is None


# --- precision ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (32, "32-true"),
        ("32", "32-true"),
        ("32-true", "32-true"),
        (16, "16-mixed"),
        ("16", "16-mixed"),
        ("16-mixed", "16-mixed"),
        ("bf16", "bf16-mixed"),
        ("bf16-mixed", "bf16-mixed"),
    ],
)
def test_precision_is_named_as_lightning_names_it(value: Any, name: str) -> None:
    assert taken({"precision": value}).precision == name


@pytest.mark.parametrize(
    ("precision", "use_amp", "agrees"),
    [
        ("16-mixed", True, True),
        ("16-mixed", {"init_scale": 2.0}, True),
        ("bf16-mixed", False, True),
        ("bf16-mixed", True, False),
        ("bf16-mixed", {}, False),
        ("32-true", True, False),
        ("32-true", False, True),
    ],
)
def test_precision_and_use_amp_agree_or_are_both_named(precision: str, use_amp: Any, agrees: bool) -> None:
    _, problems = read_flags({"precision": precision}, use_amp=use_amp)
    assert (problems == []) is agrees
    if not agrees:
        text = f"lightning_args={{'precision': {precision!r}}} contradicts use_amp={use_amp!r}"
        assert text in str(problems[0])
        assert type(problems[0]) is InvalidArgumentError


def test_sixteen_bit_is_use_amp() -> None:
    if torch.cuda.is_available():
        assert make_loop(lightning_args={"precision": 16}).amp_scaler.is_enabled()
        return
    with pytest.warns(QuirkWarning, match="Q22: there is no CUDA device"):
        loop = make_loop(lightning_args={"precision": "16-mixed"}, use_amp={"init_scale": 2.0})
    assert loop.use_amp is True
    assert loop.amp_scaler_init == {"init_scale": 2.0}


def bare_loop(model: Any, optimizer: torch.optim.Optimizer, epochs: int, cast: bool) -> list[float]:
    """Train as torch's own documents say, and return the mean loss of each epoch."""
    means = []
    for _ in range(epochs):
        losses = []
        for inputs, targets in batches():
            with torch.autocast("cpu", torch.bfloat16, enabled=cast):
                loss = torch.nn.functional.mse_loss(model(inputs), targets)
            losses.append(loss.detach())
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimizer.step()
            optimizer.zero_grad()
        means.append(torch.stack(losses).double().mean().item())
    return means


@pytest.mark.parametrize("precision", ["bf16-mixed", "32-true"])
def test_losses_and_weights_are_those_of_a_bare_loop(precision: str) -> None:
    cast, model = precision == "bf16-mixed", Linear()
    means = bare_loop(model, torch.optim.Adam(model.parameters(), lr=0.1), 3, cast)
    ours = Linear()
    loop = make_loop(
        ours,
        optimizer=torch.optim.Adam(ours.parameters(), lr=0.1),
        lightning_args={"precision": precision, "accelerator": "cpu"},
        validation=batches(),
    )
    loop.fit(num_epochs=3)
    assert loop.train_history["accumulated_loss"] == means
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), model.parameters(), strict=True))
    assert loop.trainer is not None
    assert loop.trainer.precision == precision
    assert (loop.use_amp, loop.amp_scaler.is_enabled()) == (False, False)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=cast):
        outputs = [model(inputs) for inputs, _ in batches()]
        losses = [torch.nn.functional.mse_loss(y, batch[1]) for y, batch in zip(outputs, batches(), strict=True)]
    assert loop.train_history["val_loss"][-1] == torch.stack(losses).double().mean().item()
    predictions, targets, _ = loop.predict_on_validation_set()
    assert torch.equal(predictions, torch.cat(outputs).float())
    assert (predictions.dtype, targets.dtype) == (torch.float32, torch.float32)


def test_the_two_precisions_give_different_numbers() -> None:
    """A control of the test above: an autocast that does nothing would pass it in one of its cases only."""
    histories = []
    for precision in ("bf16-mixed", "32-true"):
        loop = make_loop(lightning_args={"precision": precision, "accelerator": "cpu"})
        loop.fit(num_epochs=2)
        histories.append(loop.train_history["accumulated_loss"])
    assert histories[0] != histories[1]


def test_half_precision_reaches_feed_definitions_and_the_data_parallel_mode() -> None:
    seen = []

    class Watching(Linear):
        def get_loss(self, batch_data: Any, criterion: Any, device: Any) -> Any:
            seen.append(torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None)
            return super().get_loss(batch_data, criterion, device)

    class Feed(AbstractModelFeedDefinition):
        def get_loss(self, model: Any, batch_data: Any, criterion: Any, device: Any) -> Any:
            seen.append(model(batch_data[0]).dtype)
            return criterion(model(batch_data[0]), batch_data[1])

        def get_predictions(self, model: Any, batch_data: Any, device: Any) -> Any:
            return model(batch_data[0]), batch_data[1], {}

    make_loop(Watching(), gpu_mode="dp", lightning_args={"precision": "bf16", "accelerator": "cpu"}).fit(1)
    assert set(seen) == {torch.bfloat16}
    seen.clear()
    make_loop(Watching(), gpu_mode="dp", lightning_args={"accelerator": "cpu"}).fit(1)
    assert set(seen) == {None}
    seen.clear()
    model = torch.nn.Linear(3, 1)
    wrap = ModelWrap(model, Feed())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    args = {"precision": "bf16", "accelerator": "cpu"}
    make_loop(wrap, optimizer=optimizer, lightning_args=args, end_auto_eval=False).fit(1)
    assert set(seen) == {torch.bfloat16}


# --- several processes ----------------------------------------------------------------------------------------------


def test_settings_for_several_processes_become_arguments_of_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    from lightning.pytorch.strategies import DDPStrategy

    strategy = DDPStrategy(find_unused_parameters=True, timeout=timedelta(seconds=5), process_group_backend="mpi")
    flags = taken({"strategy": strategy, "devices": 2, "num_nodes": 3, "accelerator": "cpu"}, gpu_mode="ddp")
    assert (flags.strategy, flags.timeout) == ("ddp", timedelta(seconds=5))
    settings, problems = ddp_settings(flags, {"node_rank": 1, "ddp_model_args": {"bucket_cap_mb": 1}})
    assert problems == []
    assert settings == {
        "node_rank": 1,
        "num_gpus": 2,
        "num_nodes": 3,
        "on_gpu": False,
        "backend": "mpi",
        "ddp_model_args": {"bucket_cap_mb": 1, "find_unused_parameters": True},
    }
    assert ddp_settings(Flags(), {"num_gpus": 4}) == ({"num_gpus": 4}, [])


def test_so_many_devices_are_processes_on_the_cpu_where_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    flags = Flags(devices=2)
    assert ddp_settings(flags, {})[0] == {"num_gpus": 2, "on_gpu": False, "backend": "gloo"}
    # What the caller says of it stands, and is looked at where `fit` checks it.
    assert ddp_settings(flags, {"on_gpu": True})[0] == {"num_gpus": 2, "on_gpu": True}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert ddp_settings(flags, {})[0] == {"num_gpus": 2}


@pytest.mark.parametrize(
    ("flags", "further", "texts"),
    [
        (Flags(devices=2), {"num_gpus": 3}, ["{'devices': 2} contradicts fit(num_gpus=3)"]),
        (Flags(num_nodes=2), {"num_nodes": 1}, ["{'num_nodes': 2} contradicts fit(num_nodes=1)"]),
        (
            Flags(accelerator="cpu"),
            {"on_gpu": True, "backend": "nccl"},
            ["'cpu'} contradicts fit(on_gpu=True)", "'cpu'} contradicts fit(backend='nccl')"],
        ),
        (Flags(accelerator="cuda"), {"on_gpu": False}, ["'cuda'} contradicts fit(on_gpu=False)"]),
        (
            Flags(backend="gloo"),
            {"backend": "nccl"},
            ["(process_group_backend='gloo')} contradicts fit(backend='nccl')"],
        ),
        (
            Flags(model_args={"static_graph": True}),
            {"ddp_model_args": {"static_graph": False}},
            ["(static_graph=True)} contradicts fit(ddp_model_args={'static_graph': False})"],
        ),
        (
            Flags(strategy="fsdp"),
            {"ddp_model_args": {"bucket_cap_mb": 1}},
            ["'fsdp'} contradicts fit(ddp_model_args={'b"],
        ),
    ],
)
def test_a_setting_and_an_argument_of_fit_that_contradict_are_both_named(
    flags: Flags, further: dict[str, Any], texts: list[str]
) -> None:
    problems = ddp_settings(flags, further)[1]
    assert len(problems) == len(texts)
    for found, text in zip(problems, texts, strict=True):
        assert type(found) is InvalidArgumentError
        assert text in str(found)
    agreeing = {name: value for name, value in ddp_settings(flags, {})[0].items() if name in further}
    assert ddp_settings(flags, agreeing)[1] == []


def test_the_given_arguments_are_left_as_they_are() -> None:
    further = {"ddp_model_args": {"bucket_cap_mb": 1}}
    ddp_settings(Flags(devices=2, model_args={"static_graph": True}), further)
    assert further == {"ddp_model_args": {"bucket_cap_mb": 1}}


def test_sharding_with_a_gradient_scaler_is_refused() -> None:
    for options in ({"use_amp": True}, {}):
        args = {"strategy": "fsdp"} if options else {"strategy": "fsdp", "precision": 16}
        refused = problem(args, gpu_mode="ddp", **options)
        assert isinstance(refused, RefusedError)
        assert "is not served with the strategy 'fsdp'" in str(refused)
    assert taken({"strategy": "fsdp", "precision": "bf16-mixed"}, gpu_mode="ddp").strategy == "fsdp"
