"""The vocabulary; what is expected was seen on AIToolbox 1.8.0."""

import base64
import io
import pickle
from typing import Any

import numpy as np
import pytest
import torch

from compat import Vocabulary
from compat.exceptions import CompatError

# Written by the old library: Vocabulary("en", True) with the letters of "aabbcd", and Vocabulary("en") with those of
# "aabbbcd" after trim(2).
OF_DOCUMENTS = (
    "gASVfwEAAAAAAACMHWFpdG9vbGJveC5ubHAuY29yZS52b2NhYnVsYXJ5lIwKVm9jYWJ1bGFyeZSTlCmBlH2UKIwJUEFEX3Rva2VulEsAjAlPT1"
    "ZfdG9rZW6USwGMCVNPU190b2tlbpRLAowJRU9TX3Rva2VulEsDjAlTT0RfdG9rZW6USwSMCUVPRF90b2tlbpRLBYwEbmFtZZSMAmVulIwOZG9j"
    "dW1lbnRfbGV2ZWyUiIwHdHJpbW1lZJSJjAp3b3JkMmluZGV4lH2UKIwBYZRLBowBYpRLB4wBY5RLCIwBZJRLCXWMCndvcmQyY291bnSUfZQoaB"
    "FLAmgSSwJoE0sBaBRLAXWMCmluZGV4MndvcmSUfZQoSwCMA1BBRJRLAYwDT09WlEsCjANTT1OUSwOMA0VPU5RLBIwDU09ElEsFjANFT0SUSwZo"
    "EUsHaBJLCGgTSwloFHWMDmRlZmF1bHRfdG9rZW5zlF2UKEsASwFLAksDSwRLBWWMCW51bV93b3Jkc5RLCnViLg=="
)
TRIMMED = (
    "gASVTwEAAAAAAACMHWFpdG9vbGJveC5ubHAuY29yZS52b2NhYnVsYXJ5lIwKVm9jYWJ1bGFyeZSTlCmBlH2UKIwJUEFEX3Rva2VulEsAjAlPT1"
    "ZfdG9rZW6USwGMCVNPU190b2tlbpRLAowJRU9TX3Rva2VulEsDjAlTT0RfdG9rZW6USwSMCUVPRF90b2tlbpRLBYwEbmFtZZSMAmVulIwOZG9j"
    "dW1lbnRfbGV2ZWyUiYwHdHJpbW1lZJSIjAp3b3JkMmluZGV4lH2UKIwBYZRLBIwBYpRLBXWMCndvcmQyY291bnSUfZQoaBFLAWgSSwF1jAppbm"
    "RleDJ3b3JklH2UKEsAjANQQUSUSwGMA09PVpRLAowDU09TlEsDjANFT1OUSwRoEUsFaBJ1jA5kZWZhdWx0X3Rva2Vuc5RdlChLAEsBSwJLA2WM"
    "CW51bV93b3Jkc5RLBnViLg=="
)


class Unpickler(pickle.Unpickler):
    """Finds our class where a pickle names the old one."""

    def find_class(self, module: str, name: str) -> Any:
        assert (module, name) == ("aitoolbox.nlp.core.vocabulary", "Vocabulary")
        return Vocabulary


def loaded(text: str) -> Any:
    return Unpickler(io.BytesIO(base64.b64decode(text))).load()


def of(letters: str, document_level: bool = False) -> Vocabulary:
    vocabulary = Vocabulary("en", document_level)
    vocabulary.add_sentence(list(letters))
    return vocabulary


def test_reserved_tokens() -> None:
    vocabulary = Vocabulary("en")
    assert vocabulary.index2word == {0: "PAD", 1: "OOV", 2: "SOS", 3: "EOS"}
    assert (vocabulary.num_words, vocabulary.default_tokens, vocabulary.word2index) == (4, [0, 1, 2, 3], {})


def test_reserved_tokens_of_documents() -> None:
    vocabulary = Vocabulary("en", document_level=True)
    assert vocabulary.index2word == {0: "PAD", 1: "OOV", 2: "SOS", 3: "EOS", 4: "SOD", 5: "EOD"}
    assert (vocabulary.num_words, vocabulary.default_tokens) == (6, [0, 1, 2, 3, 4, 5])


def test_tokens_are_numbered_as_they_come_and_counted() -> None:
    vocabulary = of("aba")
    vocabulary.add_word("c")
    vocabulary.add_sentence("a b")
    assert vocabulary.word2index == {"a": 4, "b": 5, "c": 6, " ": 7}
    assert vocabulary.word2count == {"a": 3, "b": 2, "c": 1, " ": 1}
    assert vocabulary.num_words == 8


def test_a_token_that_is_spelt_like_a_reserved_one_is_another() -> None:
    assert of(["PAD"]).word2index == {"PAD": 4}  # type: ignore[arg-type]  # any sequence of tokens


def test_trim_numbers_the_frequent_tokens_anew(capsys: pytest.CaptureFixture[str]) -> None:
    vocabulary = of("caabbd")
    vocabulary.trim(2)
    assert vocabulary.word2index == {"a": 4, "b": 5}
    assert vocabulary.word2count == {"a": 1, "b": 1}
    assert vocabulary.num_words == 6
    assert capsys.readouterr().out == "keep_words 2 / 4 = 0.5000\n"


def test_trim_works_once(capsys: pytest.CaptureFixture[str]) -> None:
    vocabulary = of("aab")
    vocabulary.trim(1)
    capsys.readouterr()
    before = dict(vars(vocabulary))
    vocabulary.trim(100)
    assert vars(vocabulary) == before
    assert capsys.readouterr().out == ""
    vocabulary.add_word("c")
    assert vocabulary.word2index == {"a": 4, "b": 5, "c": 6}


def test_trim_of_an_empty_vocabulary() -> None:
    vocabulary = Vocabulary("en")
    vocabulary.trim(1)
    assert vocabulary.trimmed
    assert vocabulary.num_words == 4


def test_trim_by_something_that_cannot_be_compared_changes_nothing() -> None:
    vocabulary = of("ab")
    with pytest.raises(TypeError):
        vocabulary.trim(None)  # type: ignore[arg-type]  # what is tested
    assert not vocabulary.trimmed
    assert vocabulary.word2index == {"a": 4, "b": 5}


def test_sentence_to_indices() -> None:
    vocabulary = of("ab")
    assert vocabulary.convert_sent2idx_sent(["a", "zz", "b"]) == [2, 4, 1, 5, 3]
    assert vocabulary.convert_sent2idx_sent(["a", "zz", "b"], start_end_token=False) == [4, 1, 5]
    assert vocabulary.convert_sent2idx_sent([]) == [2, 3]


def test_sentence_to_indices_needs_tokens() -> None:
    with pytest.raises(ValueError, match="word2index is empty") as caught:
        Vocabulary("en").convert_sent2idx_sent(["a"])
    assert isinstance(caught.value, CompatError)


@pytest.mark.parametrize("made", [list, tuple, np.array, torch.tensor])
def test_indices_to_sentence(made: Any) -> None:
    vocabulary = of("ab")
    assert vocabulary.convert_idx_sent2sent(made([2, 4, 1, 5, 3, 0])) == ["SOS", "a", "OOV", "b", "EOS", "PAD"]
    assert vocabulary.convert_idx_sent2sent(made([2, 4, 1, 5, 3, 0]), rm_default_tokens=True) == ["a", "b"]


def test_reserved_tokens_of_documents_are_left_out_only_there() -> None:
    assert of("ab", document_level=True).convert_idx_sent2sent([4, 5, 6], rm_default_tokens=True) == ["a"]
    assert of("ab").convert_idx_sent2sent([4, 5], rm_default_tokens=True) == ["a", "b"]


def test_unknown_index_is_named() -> None:
    with pytest.raises(KeyError, match="99"):
        of("ab").convert_idx_sent2sent([99])


def test_indices_to_sentence_needs_a_map() -> None:
    vocabulary = Vocabulary("en")
    vocabulary.index2word = {}
    with pytest.raises(ValueError, match="index2word is empty"):
        vocabulary.convert_idx_sent2sent([0])


def test_pickles_of_the_old_library_hold_what_ours_holds() -> None:
    assert vars(loaded(OF_DOCUMENTS)) == vars(of("aabbcd", document_level=True))
    trimmed = of("aabbbcd")
    trimmed.trim(2)
    assert vars(loaded(TRIMMED)) == vars(trimmed)


def test_a_vocabulary_from_an_old_pickle_goes_on() -> None:
    vocabulary = loaded(TRIMMED)
    vocabulary.add_word("c")
    assert vocabulary.convert_sent2idx_sent(["a", "c", "d"]) == [2, 4, 6, 1, 3]
