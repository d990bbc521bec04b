"""A tokenizer and its chat template with only `tokenizers` and Jinja: importing transformers takes seconds.

transformers may change a tokenizer on loading, by rules of each model family. So this one is used only if its hash and
that of its template equal those that rollout stored for the tokenizer that transformers loaded. A fast tokenizer
encodes with only that state, and a template sees only its arguments and the special tokens. If a template uses a
special token that the files do not name, it is left to transformers, which has defaults.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from pivotmine import policy

SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_OWN_CODE = ("auto_map", "split_special_tokens")
"""Settings that make transformers do more than the backend does."""
_NO_POST_PROCESSOR = {
    "type": "TemplateProcessing",
    "single": [{"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
    "special_tokens": {},
}
"""How transformers writes that a tokenizer adds no special tokens."""


class LightTokenizer:
    """What `Renderer` and `PromptTokenizer` use of a Hugging Face tokenizer, under the same names."""

    is_fast = True

    def __init__(self, folder: Path, backend: Any, config: Mapping[str, Any], template: str) -> None:
        self.name_or_path, self.chat_template = str(folder), template
        self.backend_tokenizer = backend
        self.backend_tokenizer.no_padding()
        self.backend_tokenizer.no_truncation()
        self.special_tokens_map = {name: _content(config[name]) for name in SPECIAL_TOKENS if config.get(name)}

    @property
    def bos_token(self) -> str | None:
        """The beginning-of-sequence token, or None."""
        return self.special_tokens_map.get("bos_token")

    @property
    def added_tokens_decoder(self) -> dict[int, Any]:
        """Added tokens by their ids."""
        return self.backend_tokenizer.get_added_tokens_decoder()

    def __call__(self, text: str, *, add_special_tokens: bool = True) -> dict[str, list[int]]:
        return {"input_ids": self.backend_tokenizer.encode(text, add_special_tokens=add_special_tokens).ids}

    def get_chat_template(self, *, tools: Any = None) -> str:
        """The template; there is only one."""
        return self.chat_template


def load_light(name: str, tokenizer_hash: str | None, template_hash: str | None) -> LightTokenizer | None:
    """The tokenizer in a folder, if it has these hashes; None if it is left to transformers."""
    folder = Path(name)
    if tokenizer_hash is None or template_hash is None or not (folder / "tokenizer.json").is_file():
        return None
    try:
        config = _read(folder / "tokenizer_config.json")
        template = _template(folder, config)
        if template is None or policy.hash_template(template) != template_hash or _needs_transformers(config, template):
            return None
        backend = _backend(folder / "tokenizer.json", tokenizer_hash)
        return None if backend is None else LightTokenizer(folder, backend, config, template)
    except Exception:  # transformers has the better error message
        return None


def _backend(path: Path, tokenizer_hash: str) -> Any:
    """The `tokenizers.Tokenizer` with this hash, as the file or as transformers writes it; None if there is none."""
    from tokenizers import Tokenizer

    backend = Tokenizer.from_file(str(path))
    state: dict[str, Any] = json.loads(backend.to_str())
    # transformers may write out what the file leaves out: the post-processor, empty affixes.
    spelt = {**state, "post_processor": state["post_processor"] or _NO_POST_PROCESSOR}
    empty = dict.fromkeys(("continuing_subword_prefix", "end_of_word_suffix"), "")
    model = {key: empty.get(key, value) if value is None else value for key, value in state["model"].items()}
    for one in (state, spelt, {**spelt, "model": model}):
        if policy.hash_tokenizer_state(one) == tokenizer_hash:
            return backend if one is state else Tokenizer.from_str(json.dumps(one))
    return None


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def _template(folder: Path, config: Mapping[str, Any]) -> str | None:
    """The template; None if there is none, or several by name."""
    if (folder / "additional_chat_templates").exists() or (folder / "chat_template.json").exists():
        return None
    file = folder / "chat_template.jinja"
    template = file.read_text(encoding="utf-8") if file.is_file() else config.get("chat_template")
    return template if isinstance(template, str) else None


def _needs_transformers(config: Mapping[str, Any], template: str) -> bool:
    used = set(re.findall(rf"\b(?:{'|'.join(SPECIAL_TOKENS)})\b", template))
    return any(config.get(key) for key in _OWN_CODE) or any(not config.get(name) for name in used)


def _content(token: Any) -> str:
    return str(cast(dict[str, Any], token)["content"]) if isinstance(token, dict) else str(token)
