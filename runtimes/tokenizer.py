"""CLIP's tokenizer: text to the ids that a text encoder takes, as transformers gives them.

Equal to transformers 5.23's `CLIPTokenizer` for every text, also in code points that Unicode 14
does not assign, whatever Unicode the running Python knows. What differs:

- a lone surrogate is refused with an error of our own;
- folders are refused that set `padding_side`, `truncation_side` or `split_special_tokens` to
  another value than CLIP's, or have a `single_word` token;
- special tokens without a standard name are read from `extra_special_tokens` and
  `additional_special_tokens`, not from other keys that end in `_token`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtimes.added_tokens import AddedTokens
from runtimes.byte_pairs import BytePairs, decode_tokens
from runtimes.errors import UsageError
from runtimes.tokenizer_files import TokenizerFiles, read_tokenizer_files
from runtimes.tokenizer_text import normalize, split_words


@dataclass(frozen=True)
class Encoding:
    """Texts as ids of equal count.

    Attributes:
        input_ids: int64 `[texts, model_max_length]`: `bos_token_id`, the text, `eos_token_id`,
            then `pad_token_id` to the end.
        dropped: for each text what did not fit, as it is decoded; empty where all of it did.
    """

    input_ids: NDArray[np.int64]
    dropped: tuple[str, ...]


class ClipTokenizer:
    """A CLIP tokenizer; `open` makes one from a folder.

    Attributes:
        vocab_size: tokens of the vocabulary, without those added to it (as in transformers);
            `len()` counts these too.
        bos_token_id: the id that starts a text.
        eos_token_id: the id that ends it.
        pad_token_id: the id that fills it up.
        model_max_length: ids of a text that is filled up, 77 in CLIP.
    """

    def __init__(self, files: TokenizerFiles) -> None:
        self.vocab_size = len(files.vocab)
        self.bos_token_id = files.bos_token_id
        self.eos_token_id = files.eos_token_id
        self.pad_token_id = files.pad_token_id
        self.model_max_length = files.model_max_length
        self._byte_pairs = BytePairs(files.vocab, files.merges, files.unk_token_id)
        self._added = AddedTokens(files.added_tokens, normalize)
        self._tokens = {token_id: token for token, token_id in files.vocab.items()}
        self._tokens |= self._added.contents

    @classmethod
    def open(cls, folder: Path) -> ClipTokenizer:
        """Open the tokenizer in `folder`.

        Args:
            folder: holds `vocab.json` and `merges.txt`, or `tokenizer.json`, and the files that
                transformers writes beside them.

        Raises:
            LatedgeError: a file is missing, broken or of another kind of tokenizer.
        """
        return cls(read_tokenizer_files(folder))

    def __len__(self) -> int:
        """Count all tokens, those added to the vocabulary included."""
        return len(self._tokens)

    def tokenize(self, text: str) -> list[int]:
        """Give the ids of `text`, however many, with none before or after it.

        Raises:
            UsageError: `text` holds a lone surrogate, which is no character.
        """
        try:
            text.encode()
        except UnicodeEncodeError as e:
            raise UsageError(
                f"the text has a lone surrogate, U+{ord(text[e.start]):04X}, at character"
                f" {e.start}, which is no character; remove it"
            ) from e
        ids: list[int] = []
        for part in self._added.split(text):
            if isinstance(part, int):
                ids.append(part)
            else:
                for word in split_words(part):
                    ids += self._byte_pairs.encode(word)
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Write ids as text, in small letters; an id of no token is left out."""
        return decode_tokens(self._tokens[i] for i in ids if i in self._tokens)

    def token(self, token_id: int) -> str:
        """A token as the vocabulary writes it: with `</w>` where it ends a word."""
        return self._tokens[token_id]

    def __call__(self, text: str | Sequence[str]) -> Encoding:
        """Give ids for a text encoder, cut or filled up to `model_max_length`.

        Args:
            text: one text, or several; empty ones are allowed.

        Raises:
            UsageError: a text holds a lone surrogate.
        """
        texts = [text] if isinstance(text, str) else text
        room = self.model_max_length - 2
        input_ids = np.full((len(texts), self.model_max_length), self.pad_token_id, np.int64)
        dropped: list[str] = []
        for row, ids in zip(input_ids, map(self.tokenize, texts), strict=True):
            kept = [self.bos_token_id, *ids[:room], self.eos_token_id]
            row[: len(kept)] = kept
            dropped.append(self.decode(ids[room:]))
        return Encoding(input_ids, tuple(dropped))
