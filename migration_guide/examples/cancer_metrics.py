"""Breast cancer: metrics after every epoch, under names of one's own, and a predictor for the trained model.

A result package is evaluated on the training and the validation set, its metrics go into the history, and are
reported and renamed there. Written for AIToolbox 1.3, whose modules lay elsewhere. The data comes with scikit-learn.
"""

import torch
from aitoolbox.experiment.core_metrics.classification import AccuracyMetric, ROCAUCMetric
from aitoolbox.experiment.result_package.basic_packages import BinaryClassificationResultPackage
from aitoolbox.torchtrain.callbacks.performance_eval import (
    MetricHistoryRename,
    ModelPerformanceEvaluation,
    ModelPerformancePrintReport,
)
from aitoolbox.torchtrain.callbacks.train_schedule import ReduceLROnPlateauScheduler
from aitoolbox.torchtrain.model import TTModel
from aitoolbox.torchtrain.model_predict import PyTorchModelPredictor
from aitoolbox.torchtrain.tl_components.pred_collate_fns import append_predictions, torch_cat_transf
from aitoolbox.torchtrain.train_loop import TrainLoop
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Classifier(TTModel):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(30, 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, x):
        return self.layers(x).squeeze(1)

    def get_loss(self, batch_data, criterion, device):
        x, y = batch_data
        return criterion(self(x.to(device)), y.to(device))

    def get_predictions(self, batch_data, device):
        x, y = batch_data
        return torch.sigmoid(self(x.to(device))).cpu(), y, {}


def main():
    torch.manual_seed(0)
    x, y = load_breast_cancer(return_X_y=True)
    x_train, x_val, y_train, y_val = train_test_split(x, y, test_size=0.3, random_state=0, stratify=y)
    scaler = StandardScaler().fit(x_train)

    def as_loader(x, y, **options):
        x = torch.tensor(scaler.transform(x), dtype=torch.float32)
        return DataLoader(TensorDataset(x, torch.tensor(y, dtype=torch.float32)), **options)

    model = Classifier()
    loop = TrainLoop(
        model,
        as_loader(x_train, y_train, batch_size=32, shuffle=True),
        as_loader(x_val, y_val, batch_size=64),
        None,
        torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9),
        nn.BCEWithLogitsLoss(),
        collate_batch_pred_fn=append_predictions,
        pred_transform_fn=torch_cat_transf,
    )
    package = BinaryClassificationResultPackage()
    callbacks = [
        ModelPerformanceEvaluation(package, {}, on_train_data=True, on_val_data=True),
        MetricHistoryRename("val_ROC_AUC", "area"),
        ModelPerformancePrintReport(
            ["val_Accuracy", "val_F1_score"], report_frequency=2, strict_metric_reporting=False
        ),
        ReduceLROnPlateauScheduler(patience=1),
    ]
    loop.fit(num_epochs=6, callbacks=callbacks)

    print("keys", ", ".join(loop.train_history.keys()))
    print(f"area under the curve {loop.train_history['area'][-1]:.6f}")
    predictor = PyTorchModelPredictor(model, as_loader(x_val, y_val, batch_size=64))
    print(f"accuracy {predictor.evaluate_metric(AccuracyMetric).get_metric():.6f}")
    print(f"area {predictor.evaluate_metric(ROCAUCMetric).get_metric():.6f}")


if __name__ == "__main__":
    main()
