"""The map between the tokens of a language and their indices."""

from collections.abc import Iterable, Sequence
from typing import Any

from compat._console import say
from compat._ledger import used
from compat.exceptions import InvalidArgumentError

__all__ = ["Vocabulary"]


class Vocabulary:
    """Tokens and their indices, in the order in which the tokens were first seen.

    The first indices are reserved: padding 0, unknown words 1, start and end of a sentence 2 and 3; at the document
    level also start and end of a document, 4 and 5.

    Args:
        name: A name, such as that of the language.
        document_level: Reserve the two tokens of documents as well.

    Attributes:
        PAD_token: Index of the padding.
        OOV_token: Index of a word that the vocabulary does not hold.
        SOS_token: Index of the start of a sentence.
        EOS_token: Index of the end of a sentence.
        SOD_token: Index of the start of a document.
        EOD_token: Index of the end of a document.
        name: The argument.
        document_level: The argument.
        trimmed: Whether :meth:`trim` has run.
        word2index: Index by token, without the reserved ones.
        word2count: How often a token was added; 1 for those that :meth:`trim` left.
        index2word: Token by index, with the reserved ones.
        default_tokens: The reserved indices.
        num_words: The number of indices, and so the next one.
    """

    # Attributes keep their names, and there are no others: pickles of the old library hold exactly these.

    def __init__(self, name: str, document_level: bool = False) -> None:
        """Start with the reserved tokens alone."""
        used(self)
        self.PAD_token, self.OOV_token, self.SOS_token, self.EOS_token, self.SOD_token, self.EOD_token = range(6)
        self.name = name
        self.document_level = document_level
        self.trimmed = False
        self._clear()

    def _clear(self) -> None:
        self.word2index: dict[Any, int] = {}
        self.word2count: dict[Any, int] = {}
        self.index2word: dict[int, Any] = {
            self.PAD_token: "PAD",
            self.OOV_token: "OOV",
            self.SOS_token: "SOS",
            self.EOS_token: "EOS",
        }
        if self.document_level:
            self.index2word |= {self.SOD_token: "SOD", self.EOD_token: "EOD"}
        self.default_tokens = list(self.index2word)
        self.num_words = len(self.index2word)

    def add_sentence(self, sentence_tokens: Iterable[Any]) -> None:
        """Add each token of a sentence.

        Args:
            sentence_tokens: The tokens; of a plain string each letter is one.
        """
        for token in sentence_tokens:
            self.add_word(token)

    def add_word(self, word: Any) -> None:
        """Count a token, and give it the next index if it is new.

        Args:
            word: The token.
        """
        if word in self.word2index:
            self.word2count[word] += 1
            return
        self.word2index[word] = self.num_words
        self.word2count[word] = 1
        self.index2word[self.num_words] = word
        self.num_words += 1

    def trim(self, min_count: int) -> None:
        """Drop rare tokens and number the others anew. It works once; later calls change nothing.

        Args:
            min_count: How often a token has to have been added to be kept.
        """
        if self.trimmed:
            return
        kept = [word for word, count in self.word2count.items() if count >= min_count]
        self.trimmed = True
        known = len(self.word2index)
        say(f"keep_words {len(kept)} / {known} = {len(kept) / max(known, 1):.4f}")
        self._clear()
        for word in kept:
            self.add_word(word)

    def convert_sent2idx_sent(self, sent_tokens: Iterable[Any], start_end_token: bool = True) -> list[int]:
        """Turn the tokens of a sentence into indices.

        Args:
            sent_tokens: The tokens; those that the vocabulary does not hold become ``OOV_token``.
            start_end_token: Put the indices of start and end round them.

        Raises:
            InvalidArgumentError: The vocabulary holds no token.
        """
        if not self.word2index:
            raise InvalidArgumentError("word2index is empty. Add sentences to the vocabulary before converting any.")
        indices = [self.word2index.get(token, self.OOV_token) for token in sent_tokens]
        return [self.SOS_token, *indices, self.EOS_token] if start_end_token else indices

    def convert_idx_sent2sent(self, idx_sent: Sequence[Any], rm_default_tokens: bool = False) -> list[Any]:
        """Turn indices into the tokens of a sentence.

        Args:
            idx_sent: The indices ``(L,)``: a list, an array or a tensor.
            rm_default_tokens: Leave out the reserved ones.

        Raises:
            InvalidArgumentError: The vocabulary holds no index.
            KeyError: An index that the vocabulary does not hold.
        """
        if not self.index2word:
            raise InvalidArgumentError("index2word is empty. Make a new Vocabulary: this one lost its reserved tokens.")
        # The elements of a tensor are tensors, and no key of a dict equals one.
        indices = [index.item() if hasattr(index, "item") else index for index in idx_sent]
        return [self.index2word[index] for index in indices if not (rm_default_tokens and index in self.default_tokens)]
