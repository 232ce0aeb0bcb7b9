"""The text that a tokenizer's own chat template writes around the words of a user."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flags.config import BadInput

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Frame = tuple[str, str]


def frame(tokenizer: PreTrainedTokenizerBase, system: str, user: str) -> Frame:
    """Return the text before and after the user's words: one frame for all questions of a job, whatever day it is.

    Where the template refuses a system message, or leaves its text out, that text stands at the beginning of the user's.
    Raises BadInput if the template does not write the user's words as they are.
    """
    turns = [{"role": "user", "content": user}]
    ways = [[{"role": "system", "content": system}, *turns]] if system else [turns]
    if system:
        ways.append([{"role": "user", "content": f"{system}\n\n{user}"}])
    why = "does not write the user's words as they are"
    for messages in ways:
        try:
            text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        except Exception as error:  # a template is a program, and raises what it likes
            why = f"cannot be filled in ({first_line(error)})"
            continue
        if text.count(user) == 1 and system in text:
            before, _, after = text.partition(user)
            return before, after
    raise BadInput("chat_template", "", f"the tokenizer's template {why}; leave the flag out")


def first_line(error: Exception | str) -> str:
    """Return the first line of an error's message, at most 200 characters; the error's name if it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
