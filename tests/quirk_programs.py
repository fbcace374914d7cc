"""Small programs for each quirk that is counted: in some it changes the outcome, in others it does not."""

from typing import Any
from unittest.mock import Mock

import numpy as np
import torch
from torch import nn

from compat import (
    DataSubsetTestRun,
    EarlyStopping,
    F1ScoreMetric,
    GeneralResultPackage,
    GradientCallbackBase,
    GradientStatsPrint,
    GradNormClip,
    GradValueClip,
    LinearWithWarmupScheduler,
    MeanSquaredErrorMetric,
    MessageService,
    MetricHistoryRename,
    ModelPerformancePrintReport,
    ModelWrap,
    MultiLoss,
    PreCalculatedResultPackage,
    RecallMetric,
    ThresholdEarlyStopping,
    flatten_dict,
    keep_list_transf,
)
from tests.quirk_packages import SAME, Package, WritingPackage, evaluated, predicted_package, two_losses
from tests.quirk_parts import (
    NAN,
    ConstantLoss,
    Dropped,
    Heads,
    Make,
    Mapped,
    Metadata,
    OwnOptimizer,
    OwnWrap,
    Programs,
    SameMetadata,
    Stepped,
    Wrapped,
    after_a_subset,
    amp_on,
    constant_loss,
    contains,
    failing_evaluation,
    fits,
    history,
    longer_loader,
    new_loader_at_the_end,
    one,
    other_trunk,
    part,
    patched_hooks,
    plateau,
    predicted,
    raised,
    same_twice,
    scaled,
    several,
    steps_asked_for,
    stopped_before,
    stored,
    watched,
    with_cuda,
)
from tests.toys import GradientRecorder, Linear, Recorder, TwoHeads, batches, data_loader, make_loop

INFINITE = float("inf")
EXACT: list[Any] = [True, {}, False, 0]
SAME_EITHER_WAY: list[Any] = [np.bool_(False), None, 2, True]
Y = [0, 1, 1]

PROGRAMS: dict[str, Programs] = {
    "Q01": Programs(
        [(fits({"num_epochs": 2}, {"num_epochs": 3}), 1), (fits({"num_epochs": 2}, {"num_epochs": 2}), 1)],
        [fits({"num_epochs": 2}), fits({"num_iterations": 4}, {"num_epochs": 3})],
    ),
    "Q02": Programs(
        [(fits({"num_iterations": 4}, {"num_iterations": 5}), 1), (fits({"num_epochs": 1}, {"num_iterations": 4}), 1)],
        # By chance both ways of counting give three batches.
        [fits({"num_iterations": 4}), fits({"num_iterations": 3}, {"num_iterations": 3})],
    ),
    "Q03": Programs(
        [(fits({"num_iterations": 3, "callbacks": one(lambda: DataSubsetTestRun(2))}), 1)],
        [
            fits({"num_iterations": 2, "callbacks": one(lambda: DataSubsetTestRun(2))}),
            fits({"num_iterations": 4}),
            fits({"num_iterations": 6, "callbacks": one(longer_loader)}),
        ],
    ),
    "Q05": Programs([(stopped_before(2), 1)], [stopped_before(1), fits({"num_epochs": 2})]),
    "Q07": Programs(
        [(fits({"num_epochs": 1, "callbacks": Make(same_twice)}), 1)],
        [fits({"num_epochs": 1, "callbacks": Make(lambda: [Recorder(), Recorder()])})],
    ),
    "Q08": Programs([(fits({"num_epochs": 1, "epochs": 1}), 1)], [fits({"num_epochs": 1})], ("kept",)),
    "Q09": Programs(
        [
            (fits({"num_epochs": 1, "callbacks": Make(lambda: (Recorder(),))}), 1),
            (fits({"num_epochs": 1, "callbacks": Make(Recorder)}), 1),
            (lambda: make_loop().callbacks_handler.register_callbacks((Recorder(),)), 1),
            (lambda: make_loop().callbacks_handler.register_callbacks(Recorder(), cache_callbacks=True), 1),
        ],
        [
            fits({"num_epochs": 1, "callbacks": one(Recorder)}),
            fits({"num_epochs": 1, "callbacks": None}),
            lambda: make_loop().callbacks_handler.register_callbacks((Recorder(),), cache_callbacks=True),
        ],
        ("fixed",),
    ),
    "Q10": Programs(
        [(fits({"num_iterations": 1, "grad_accumulation": 2}, {"num_epochs": 2}), 1)],
        [fits({"num_iterations": 1}, {"num_epochs": 2}), other_trunk],
    ),
    "Q11": Programs(
        [
            (fits({"num_epochs": 2, "grad_accumulation": 2}), 2),
            (fits({"num_epochs": 1, "grad_accumulation": 5}), 1),
        ],
        [
            fits({"num_epochs": 1, "grad_accumulation": 3}),
            # The window is cut short, and not flushed.
            fits({"num_iterations": 1, "grad_accumulation": 2}),
            fits({"num_iterations": 2, "grad_accumulation": 2}),
            fits({"num_epochs": 1}),
        ],
    ),
    "Q13": Programs([(steps_asked_for(3), 1)], [steps_asked_for(4)]),
    "Q16": Programs([(raised("on_batch_end"), 1)], [raised("on_epoch_begin"), fits({"num_epochs": 1})]),
    "Q17": Programs(
        [(fits({"num_epochs": 1}, end_auto_eval=np.int64(1)), 1)],
        [fits({"num_epochs": 1}, end_auto_eval=either) for either in SAME_EITHER_WAY],
    ),
    "Q18": Programs(
        [
            (fits({"num_epochs": 3}, train=Make(lambda: data_loader(shuffle=True))), 2),
            (fits({"num_epochs": 2}, train=Make(data_loader), model=Make(lambda: Dropped(0.5))), 1),
        ],
        [
            fits({"num_epochs": 3}, train=Make(data_loader)),
            fits({"num_epochs": 1}, train=Make(lambda: data_loader(shuffle=True))),
            fits({"num_epochs": 3}, train=Make(lambda: data_loader(shuffle=True)), end_auto_eval=False),
            fits({"num_epochs": 2}, train=Make(data_loader), model=Make(lambda: Dropped(0.0))),
        ],
    ),
    "Q19": Programs(
        [
            # While it trains, and when it is evaluated.
            (fits({"num_epochs": 1}, train=Make(lambda: data_loader(5))), 2),
            (fits({"num_epochs": 1}, train=[*batches(2), *batches(1, 1)], end_auto_eval=False), 1),
            (lambda: make_loop().evaluate_model_loss(data_loader(5)), 1),
        ],
        [
            fits({"num_epochs": 1}, train=Make(lambda: data_loader(6))),
            fits({"num_epochs": 1}, train=Make(lambda: data_loader(5)), criterion=ConstantLoss()),
            fits({"num_iterations": 2}, train=Make(lambda: data_loader(5)), end_auto_eval=False),
        ],
    ),
    "Q20": Programs([(failing_evaluation, 1)], [lambda: make_loop().evaluate_model_loss(batches())]),
    "Q21": Programs(
        [(with_cuda(True, amp_on(1)), 1)],
        [*(with_cuda(True, amp_on(either)) for either in EXACT), with_cuda(False, amp_on(1))],
    ),
    "Q22": Programs(
        [(with_cuda(False, fits({"num_epochs": 1}, use_amp=True)), 1)],
        [with_cuda(False, fits({"num_epochs": 1})), with_cuda(False, fits(use_amp=True))],
        ("kept",),
    ),
    "Q24": Programs(
        [
            (scaled(lambda: [GradientRecorder()], scale=INFINITE), 1),
            (scaled(lambda: [LinearWithWarmupScheduler(0, 10)], scale=INFINITE), 1),
        ],
        [scaled(list, scale=INFINITE), scaled(lambda: [GradientRecorder()])],
    ),
    "Q25": Programs(
        [(scaled(lambda: [GradNormClip(1.0), GradValueClip(1.0)]), 1)],
        [scaled(lambda: [GradNormClip(1.0)])],
        ("fixed",),
    ),
    "Q26": Programs(
        [(lambda: make_loop(OwnWrap(nn.Linear(3, 1), Wrapped()), optimizer=Mock()), 1)],
        [lambda: make_loop(ModelWrap(nn.Linear(3, 1), Wrapped()), optimizer=Mock())],
        ("fixed",),
    ),
    "Q27": Programs(
        [(fits({"num_epochs": 2}, criterion=constant_loss), 1)],
        [fits({"num_epochs": 1}), lambda: make_loop(criterion=constant_loss)],
        ("fixed",),
    ),
    "Q34": Programs(
        [(stored(5, 3, asks=5), 1)],
        [
            stored(5, 3, asks=3),
            stored(5, 3, asks=4),
            stored(5, 3, asks=None),
            stored(5, 6, asks=6),
            stored(5, 5, asks=5),
        ],
    ),
    "Q37": Programs([(predicted({}, pred_transform_fn=keep_list_transf), 1)], [predicted({})], ("fixed",)),
    "Q39": Programs(
        [(predicted({}, {"execute_callbacks": True}), 1)],
        [
            predicted({"execute_callbacks": True}),
            predicted({}, {}),
            predicted({}, {"execute_callbacks": True, "force_prediction": True}),
        ],
        ("kept",),
    ),
    "Q40": Programs([(predicted({}, model=Make(Metadata)), 1)], [predicted({}, model=Make(SameMetadata))], ("kept",)),
    "Q41": Programs(
        [(lambda: make_loop().parse_loss([MultiLoss({"b": torch.tensor(1.0), "a": torch.tensor(2.0)})]), 1)],
        [
            lambda: make_loop().parse_loss([MultiLoss({"a": torch.tensor(1.0), "b": torch.tensor(2.0)})]),
            lambda: make_loop().parse_loss([MultiLoss({2: torch.tensor(1.0), 10: torch.tensor(2.0)})]),
        ],
    ),
    "Q42": Programs([(several(lambda: Heads("ab"), part("")), 1)], [several(lambda: Heads("a"), part(""))]),
    "Q43": Programs(
        [(several(lambda: Heads("abc"), part("heads.a"), part("heads.b", "heads.c")), 1)],
        [several(lambda: Heads("ab"), part("heads.a"), part("heads.b"))],
    ),
    "Q45": Programs(
        [(several(TwoHeads, part("trunk", "b"), part("a"), epochs=2), 1)],
        [several(lambda: Heads("ab"), part("heads.a"), part("heads.b"))],
        ("fixed",),
    ),
    "Q46": Programs(
        [(several(TwoHeads, part("trunk", "b"), part("a"), epochs=2), 1)],
        [
            several(lambda: Heads("ab"), part("heads.a"), part("heads.b")),
            several(TwoHeads, part("trunk", "b"), part("a"), fixed=("Q45",)),
        ],
    ),
    "Q47": Programs(
        [(fits({"num_epochs": 2, "callbacks": one(lambda: EarlyStopping("loss"))}, model=Make(TwoHeads)), 2)],
        [fits({"num_epochs": 2, "callbacks": one(lambda: EarlyStopping("loss"))})],
        ("fixed",),
    ),
    "Q48": Programs(
        [(several(lambda: Mapped({"a": 0, "b": 0}), part("")), 1)],
        [several(lambda: Mapped({"a": 1, "b": 0}), part("heads.b"), part("heads.a"))],
    ),
    "Q69": Programs(
        [
            (watched(lambda: EarlyStopping("acc", patience=1), [0.5, 0.4, 0.4, 0.4]), 1),
            (watched(lambda: EarlyStopping("acc", patience=1), [NAN, 0.5, 0.6, 0.7, 0.8]), 1),
        ],
        [
            watched(lambda: EarlyStopping("acc", patience=1), [0.5, 0.6, 0.7]),
            watched(lambda: EarlyStopping("acc", patience=1), [0.5, 0.4]),
            watched(lambda: EarlyStopping("acc"), [0.5, 0.4, 0.4]),
        ],
    ),
    "Q70": Programs(
        [(watched(lambda: EarlyStopping("acc"), [0.5, ..., 0.6]), 1)],
        [
            watched(lambda: EarlyStopping("acc"), [0.5, 0.6, 0.7]),
            watched(lambda: EarlyStopping("acc", patience=2), [0.5, ..., 0.6]),
        ],
    ),
    "Q71": Programs(
        [(watched(lambda: ThresholdEarlyStopping("acc", 0.1), [NAN, 0.5]), 1)],
        [watched(lambda: ThresholdEarlyStopping("acc", 0.1), [0.5, 0.6])],
        ("kept",),
    ),
    "Q75": Programs(
        [(fits({"num_epochs": 2, "callbacks": one(lambda: GradientStatsPrint(lambda model: [model.layer]))}), 2)],
        [
            fits(
                {"num_epochs": 1, "callbacks": one(lambda: GradientStatsPrint(lambda model: [model.layer]))},
                optimizer=Make(lambda: OwnOptimizer(Linear())),
            )
        ],
        ("fixed",),
    ),
    "Q78": Programs(
        [
            (fits({"num_epochs": 1, "callbacks": one(DataSubsetTestRun)}, {"num_epochs": 2}), 1),
            (after_a_subset("evaluate_loss_on_train_set"), 1),
            (after_a_subset("predict_on_train_set"), 1),
        ],
        [
            fits({"num_epochs": 1}),
            fits({"num_epochs": 1, "callbacks": one(DataSubsetTestRun)}),
            after_a_subset("evaluate_loss_on_validation_set"),
            new_loader_at_the_end,
        ],
    ),
    "Q87": Programs([(patched_hooks, 1)], [fits({"num_epochs": 1, "callbacks": one(Recorder)})]),
    "Q88": Programs(
        [(fits({"num_epochs": 1, "callbacks": one(Stepped)}), 1)],
        [
            fits({"num_epochs": 1, "callbacks": one(GradientRecorder)}),
            fits({"num_epochs": 1, "callbacks": one(Recorder)}),
        ],
    ),
    "Q89": Programs(
        [(contains(GradientCallbackBase), 1)], [contains(GradNormClip), contains(Recorder), contains("x")], ("kept",)
    ),
    "Q91": Programs(
        [(fits({"num_epochs": 2, "callbacks": one(lambda: LinearWithWarmupScheduler(2, 10))}), 1)],
        [fits({"num_epochs": 2, "callbacks": one(lambda: LinearWithWarmupScheduler(0, 10))})],
    ),
    "Q92": Programs([(plateau(end_auto_eval=False), 1)], [plateau()]),
    "Q93": Programs(
        [(lambda: MessageService().write_message("key", 1, []), 1)],
        [lambda: MessageService().write_message("key", 1)],
        ("kept",),
    ),
    "Q102": Programs([(fits({"num_epochs": 2}, {"num_epochs": 1}), 1)], [fits({"num_epochs": 1})], ("kept",)),
    "Q108": Programs(
        [
            (history(flatten=True, loss=[1.0], f1=[{"a": 1.0}]), 1),
            (lambda: flatten_dict({"a": 1.0}), 1),
            (lambda: flatten_dict({"a": {"b": {"c": 1.0}}}), 1),
        ],
        [history(flatten=True, loss=[1.0]), lambda: flatten_dict({})],
        ("fixed",),
    ),
    "Q114": Programs([(history(loss=[1.0], acc=[1.0]), 1)], [history()], ("fixed",)),
    "Q33": Programs(
        [(two_losses(nn.MSELoss(), nn.L1Loss()), 1), (two_losses(SAME, SAME, edited=True), 1)],
        [two_losses(SAME, SAME), two_losses(nn.MSELoss()), two_losses(nn.MSELoss(), nn.MSELoss())],
    ),
    "Q35": Programs(
        [(evaluated(Package, read="validation"), 1)],
        [
            evaluated(Package),
            evaluated(Package, read="train"),
            evaluated(lambda: Package(requires_loss=False), read="validation"),
        ],
        ("fixed",),
    ),
    "Q36": Programs([(evaluated(Package, on_train_data=True), 2)], [evaluated(Package)], ("fixed",)),
    "Q72": Programs(
        [(fits({"num_epochs": 1, "callbacks": one(lambda: ModelPerformancePrintReport(["loss"]))}), 1)],
        [
            fits(
                {"num_epochs": 1, "callbacks": one(lambda: ModelPerformancePrintReport(["test_loss"], False))},
                test=batches(1),
            )
        ],
        ("fixed",),
    ),
    "Q74": Programs(
        [(evaluated(WritingPackage, on_train_data=True, tracked=True), 1)],
        [evaluated(WritingPackage, tracked=True), evaluated(WritingPackage, on_train_data=True)],
        ("fixed",),
    ),
    "Q76": Programs(
        [
            (
                fits(
                    {"num_epochs": 1, "callbacks": one(lambda: MetricHistoryRename("accumulated_loss", "new"))},
                    {"num_epochs": 2},
                ),
                2,
            )
        ],
        [fits({"num_epochs": 2, "callbacks": one(lambda: MetricHistoryRename("accumulated_loss", "new"))})],
        ("fixed",),
    ),
    "Q117": Programs(
        [(lambda: GeneralResultPackage([MeanSquaredErrorMetric]).prepare_result_package(Y, Y), 1)],
        [lambda: GeneralResultPackage([MeanSquaredErrorMetric]).prepare_result_package(Y, Y, {})],
        ("fixed",),
    ),
    "Q119": Programs(
        [(lambda: PreCalculatedResultPackage({"a": 1.0}).prepare_result_package(Y, Y, {}), 1)],
        [lambda: PreCalculatedResultPackage({"a": 1.0}).get_results()],
        ("fixed",),
    ),
    "Q121": Programs(
        [(lambda: F1ScoreMetric(Y, [0.5, 0.6, 0.7]), 1), (lambda: RecallMetric(Y, [0.4, 0.5, 0.7]), 1)],
        # The recall has no part for the targets of class 0.
        [lambda: F1ScoreMetric(Y, [0.4, 0.6, 0.7]), lambda: RecallMetric(Y, [0.5, 0.6, 0.7])],
    ),
    "Q122": Programs(
        [(lambda: MeanSquaredErrorMetric(Y, Y) < np.float32(1), 1)],
        [lambda: MeanSquaredErrorMetric(Y, Y) < 1.0, lambda: MeanSquaredErrorMetric(Y, Y) == np.float32(0)],
        ("fixed",),
    ),
    "Q126": Programs(
        [(predicted_package(Package), 1)], [predicted_package(lambda: Package(requires_loss=False))], ("fixed",)
    ),
}
