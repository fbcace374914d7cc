"""Functions that make batches of texts, for ``DataLoader(collate_fn=)``."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from compat._ledger import called
from compat.exceptions import InvalidArgumentError, InvalidTypeError

__all__ = ["qa_concat_ctx_span_collate_fn"]

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def qa_concat_ctx_span_collate_fn(data: Sequence[tuple[Any, Any, Any]]) -> Batch:
    """Make a batch of questions about paragraphs, whose answers are spans of them.

    Args:
        data: ``N`` triples of a paragraph ``(P_i,)``, a question ``(Q_i,)`` and a span: word indices, as tensors or
            sequences.

    Returns:
        Paragraphs ``(N, max P_i)`` padded with 0, their lengths ``(N,)``, questions ``(N, max Q_i)`` padded with 0,
        their lengths ``(N,)``, and the spans ``(N, 2)``, all int64.

    Raises:
        InvalidArgumentError: There is no sample, a sample is no triple, or spans differ in length.
        InvalidTypeError: It is no list of samples.
    """
    called("compat.nlp.collate.qa_concat_ctx_span_collate_fn")
    if not isinstance(data, Iterable):
        raise InvalidTypeError(
            f"qa_concat_ctx_span_collate_fn got {data!r}, a {type(data).__name__}. Pass a list of (paragraph, question,"
            " span)."
        )
    if not data or any(len(sample) != 3 for sample in data):
        shown = f"{len(data)} samples of {sorted({len(sample) for sample in data})} values" if data else "no sample"
        raise InvalidArgumentError(
            f"qa_concat_ctx_span_collate_fn got {shown}. It takes at least one (paragraph, question, span)."
        )
    paragraphs, questions, spans = zip(*data, strict=True)
    answers = [torch.as_tensor(span) for span in spans]
    if len({tuple(answer.shape) for answer in answers}) > 1:
        raise InvalidArgumentError(
            "qa_concat_ctx_span_collate_fn got spans of different lengths:"
            f" {[list(answer.shape) for answer in answers]}. Each is a pair of word indices, start and end."
        )
    return (*_padded(paragraphs), *_padded(questions), torch.stack(answers).long())


def _padded(texts: Sequence[Any]) -> tuple[torch.Tensor, torch.Tensor]:
    rows = [torch.as_tensor(text).long() for text in texts]
    return pad_sequence(rows, batch_first=True), torch.tensor([len(row) for row in rows])
