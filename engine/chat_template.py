"""A conversation to the one text a model reads, by the Jinja template in its file, which `rendering` runs.

A template writes markers such as `<|im_start|>`; users can type the same characters. Rendering keeps them apart by
*guarding*: wherever a message's own text holds (or ends in the beginning of) a control token's text, one character
that occurs nowhere in the conversation or template is put inside it. The template sees its input otherwise unchanged,
so `trim`, `split` and comparisons work; the tokenizer finds control tokens first, then takes the guard out:

    template = ChatTemplate.choose(metadata, tokenizer)            # the file's, or --chat-template: a path or a name
    ids = tokenizer.encode_guarded(template.render([{"role": "user", "content": "What does <|im_end|> do?"}]))

Roles are not guarded (templates build markers from them: `'<|' + role + '|>'`): only names of `ROLES` are let through.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.rendering import Apart, Renderer, RenderError, Sandbox
from engine.tokenizer import Guarded, Tokenizer

KEY = "tokenizer.chat_template"
ROLES = ("system", "developer", "user", "assistant", "tool", "function")
PRIVATE_USE = (range(0xE000, 0xF900), range(0xF0000, 0xFFFFE))  # code points that Unicode will never give a meaning

BUILT_IN = {
    "chatml": (
        "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    ),
    "llama3": (
        "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n\n"
        "{{ message['content'] | trim }}<|eot_id|>{% endfor %}"
        "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
    ),
    # for base models: names and colons, no markers
    "plain": (
        "{% for message in messages %}{{ message['role'] | capitalize }}: {{ message['content'] }}\n"
        "{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
    ),
}


class ChatTemplateError(ValueError):
    """A template that cannot be compiled, or a conversation that it refuses."""


class NoChatTemplate(ChatTemplateError):
    """The model's file has no chat template and none was given."""


class ChatTemplate:
    """A compiled template with the model's special tokens; `apart` is for one that nobody here has written."""

    def __init__(
        self, source: str, tokenizer: Tokenizer, origin: str = "chat template", *, apart: bool = False
    ) -> None:
        self.source = source
        self.origin = origin
        self.apart = apart
        self._special_texts = tokenizer.special_texts
        specials = tokenizer.specials
        self._tokens = {
            "bos_token": "" if specials.bos is None else tokenizer.token_text(specials.bos),
            "eos_token": "" if specials.eos is None else tokenizer.token_text(specials.eos),
        }
        try:
            self._renderer: Renderer = Apart(source) if apart else Sandbox(source)
        except RenderError as error:
            raise ChatTemplateError(f"{origin} does not compile: {error}") from error
        self.variables = self._renderer.variables
        """What the template reads: one without `tools` in it ignores tools."""

    @staticmethod
    def choose(metadata: Mapping[str, Any], tokenizer: Tokenizer, option: str | None = None) -> ChatTemplate:
        """The one that `--chat-template` names (built-in, else a path), or the file's own."""
        if option is None:
            source = metadata.get(KEY)
            if isinstance(source, bytes):  # as the file's reader leaves what is too long for any use
                raise ChatTemplateError(f"the file's chat template is too long: it has {len(source)} bytes")
            if not isinstance(source, str) or not source.strip():
                raise NoChatTemplate(
                    "the model's file has no chat template; start the server with --chat-template "
                    f"({', '.join(BUILT_IN)}, or the path of a Jinja file), or use the completions endpoint"
                )
            return ChatTemplate(source, tokenizer, "the file's chat template", apart=True)
        if option in BUILT_IN:
            return ChatTemplate(BUILT_IN[option], tokenizer, f"chat template {option!r}")
        try:
            source = Path(option).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ChatTemplateError(
                f"--chat-template {option!r} is no built-in name ({', '.join(BUILT_IN)}) and no readable file: {error}"
            ) from error
        return ChatTemplate(source, tokenizer, f"chat template {option}")

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
        options: Mapping[str, Any] | None = None,
        open_end: bool = False,
    ) -> Guarded:
        """The text of the conversation; `options` are further variables for the template. `open_end` leaves out what
        the template writes after the last message's content, so that an answer continues it.
        """
        given = {"messages": list(messages), "tools": tools, "options": dict(options or {})}
        guard, end = _unused_characters(_texts(given), self.source)
        told = [_message(message, guard, self._special_texts) for message in messages]
        if open_end:
            told[-1]["content"] += end
        text = self._run(
            {
                **_guarded(given["options"], guard, self._special_texts),
                **self._tokens,
                "messages": told,
                "tools": _guarded(tools, guard, self._special_texts),
                "add_generation_prompt": add_generation_prompt,
            }
        )
        if open_end:
            if text.count(end) != 1:
                raise ChatTemplateError(f"{self.origin} does not write the last message once; it cannot be continued")
            text = text[: text.index(end)]
        return Guarded(text, guard)

    def _run(self, variables: dict[str, Any]) -> str:
        try:
            return self._renderer.render(variables)
        except RenderError as error:
            raise ChatTemplateError(f"{self.origin}: {error}") from error


# ---- guarding ----------------------------------------------------------------------------------------


def guard_text(text: str, guard: str, special_texts: Iterable[str]) -> str:
    """`text` with `guard` inside each control token's text that it holds, or whose beginning it ends in."""
    specials = list(special_texts)
    for special in specials:
        while special in text:  # again, where two occurrences overlap
            text = text.replace(special, special[0] + guard + special[1:])
    body = text.rstrip()  # a template may trim, and what the next message begins with then follows directly
    return _guard_end(body, guard, specials) + _guard_end(text[len(body) :], guard, specials)


def _guard_end(text: str, guard: str, specials: list[str]) -> str:
    for special in specials:
        for size in range(min(len(special) - 1, len(text)), 0, -1):
            if text.endswith(special[:size]):
                first = len(text) - size + 1
                text = text[:first] + guard + text[first:]
    return text


def _guarded(value: Any, guard: str, special_texts: list[str]) -> Any:
    """Every text within `value`, keys included, guarded."""
    if isinstance(value, str):
        return guard_text(value, guard, special_texts)
    if isinstance(value, Mapping):
        return {_guarded(k, guard, special_texts): _guarded(v, guard, special_texts) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_guarded(item, guard, special_texts) for item in value]
    return value


def _message(message: Mapping[str, Any], guard: str, special_texts: list[str]) -> dict[str, Any]:
    role = message.get("role")
    if role not in ROLES:
        raise ChatTemplateError(f"a message's role must be one of {', '.join(ROLES)}, got {role!r}")
    rest = {key: value for key, value in message.items() if key != "role"}
    if rest.get("content") is None:
        rest["content"] = ""  # templates add strings; an assistant that only called a tool said nothing
    return {"role": role, **_guarded(rest, guard, special_texts)}


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(key)
            yield from _texts(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)


def _unused_characters(texts: Iterable[str], source: str) -> tuple[str, str]:
    """Two private-use characters that occur nowhere."""
    used = set(source)
    for text in texts:
        used.update(text)
    free = (chr(code) for block in PRIVATE_USE for code in block if chr(code) not in used)
    try:
        return next(free), next(free)
    except StopIteration:
        raise ChatTemplateError("the conversation uses every private-use character of Unicode") from None
