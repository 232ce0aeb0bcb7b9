"""A language model behind an OpenAI-compatible server, as it is asked: vLLM, llama.cpp, Ollama, or a company's."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from flags.config import BadInput, Config
from llm.chat import first_line
from llm.echo import Echo, EchoedText, read_echo
from llm.evaluate import locations_of
from llm.grading import Asked, take_scores, take_text
from runs.terminal import say

if TYPE_CHECKING:
    from openai import OpenAI

    from llm.prompt import Question, ServerPrompter

TIMEOUT = 60.0  # seconds for one request
RETRIES = 10  # after a refusal for being busy, an error of the server, or a broken connection: a minute in all, at most
PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0, None)  # seconds after an answer that cannot be read
RETRIES_OF_TRIAL = 2  # someone waits to see whether the address is right
NEW_TOKENS = {"completions": 12, "chat": 32}  # a chat model writes a sentence around its answer
# How an answer's length and the choice of the likeliest token are asked for; servers differ.
_CHAT_WAYS = ("max_tokens", 0), ("max_completion_tokens", 0), ("max_completion_tokens", None)

Read = TypeVar("Read")


class NoAnswer(OSError):
    """A server that stopped answering, or answers what cannot be read. What was answered before is kept."""


@dataclass
class Usage:
    """Cost of a job so far: requests that were answered, and the server's count of tokens in and out."""

    requests: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    no_text: int = 0  # answers that were empty, or a refusal


class Server:
    """An `evaluate.Asker`: asks a question a request, `--llm_concurrency` at once, and keeps their answers before it asks the next.

    endpoint: completions, where the prompt's text goes as it is and the model goes on with it; or chat, where it is a user's turn.
    """

    episodes_at_once = 1

    def __init__(self, config: Config, prompter: ServerPrompter):
        self._config, self._prompter = config, prompter
        self._client = _client(config, RETRIES_OF_TRIAL)
        self._pauses: tuple[float | None, ...] = (0.5, None)  # of the trial
        self._lock, self._usage = threading.Lock(), Usage()
        self._way: tuple[str, int | None] = _CHAT_WAYS[0]
        self._echo: str | None = None  # how the server gives log-probabilities of a prompt
        self.endpoint = ""

    def probe(self, sample: Callable[[], Question]) -> None:
        """Find out what the server can do, by asking a question once: `sample` makes it, as the prompter writes it then.

        Raises BadInput if the server cannot be asked, or cannot do what the flags need.
        """
        import openai

        url = self._config.llm_api
        try:
            self._check_name()
            if self._config.chat_template or self._try(lambda: self._complete(sample().prompt), NoAnswer) is not None:
                self._prompter.is_chat = True
                self._find_way(sample())
            elif self._config.scorings != ("generate",):
                self._echo = self._find_echo(sample())
        except openai.APIConnectionError as error:
            raise BadInput("llm_api", url, f"does not answer ({self._words(error)})") from None
        except (openai.AuthenticationError, openai.PermissionDeniedError):
            raise BadInput("llm_api", url, "refuses the key; the environment's OPENAI_API_KEY holds it") from None
        except openai.NotFoundError:
            raise BadInput("llm_api", url, "has neither /completions nor /chat/completions; most addresses end in /v1") from None
        except NoAnswer as error:
            raise BadInput("llm_api", url, f"gives no OpenAI-compatible answer ({error}); most addresses end in /v1") from None
        except openai.APIError as error:
            raise BadInput("llm_api", url, f"cannot be asked ({self._words(error)})") from None
        self.endpoint = "chat" if self._prompter.is_chat else "completions"
        self._check_scorings()
        self._usage, self._client, self._pauses = Usage(), self._client.with_options(max_retries=RETRIES), PAUSES
        if self._prompter.is_chat and not self._config.chat_template:
            say(f"main.py: --llm_api {url}: has no /completions for this model; each question is a user's turn of a chat")

    def _check_scorings(self) -> None:
        """Raise BadInput if an answer is to be scored in a way that the server makes impossible."""
        possible = ["generate"] if self._echo is None else ["argmax", "candidates", "generate"]
        if missing := [name for name in self._config.scorings if name not in possible]:
            why = "a chat has no log-probabilities of" if self.endpoint == "chat" else "this server gives no log-probabilities of"
            what = f"{' and '.join(missing)} cannot work: {why} an answer that is not its own; possible: --scoring {possible[0]}"
            raise BadInput("scoring", self._config.scoring, what)

    def _try(self, ask: Callable[[], object], *other: type[Exception]) -> Exception | None:
        """Return the error of a server that has no such endpoint, or not for this model (`other` kinds mean so too); None if it
        answers."""
        import openai

        try:
            ask()
        except (
            openai.NotFoundError, openai.BadRequestError, openai.UnprocessableEntityError, openai.PermissionDeniedError, *other
        ) as error:  # fmt: skip
            return error
        except openai.APIStatusError as error:
            if error.status_code in (405, 501):
                return error
            raise
        return None

    def _check_name(self) -> None:
        """Raise BadInput if the server lists its models, and this is none of them."""
        import openai

        try:
            names = [model.id for model in self._client.models.list().data]
        except openai.AuthenticationError:
            raise
        except (openai.APIStatusError, AttributeError, TypeError, ValueError):
            return  # it lists none
        if names and not {self._config.llm, f"{self._config.llm}:latest"} & set(names):
            listed = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
            raise BadInput("llm", self._config.llm, f"{self._config.llm_api} has no such model, but {listed}")

    def _find_way(self, question: Question) -> None:
        """Find how the chat is asked for short answers, the likeliest ones."""
        for self._way in _CHAT_WAYS:
            error = self._try(lambda: self._chat(question))
            if error is None:
                if self._way[1] is None:
                    say(f"main.py: --llm {self._config.llm}: the server takes no temperature; answers may differ from run to run")
                return
        raise error

    def _find_echo(self, question: Question) -> str | None:
        """Find how the server gives log-probabilities of a prompt's tokens; None if it does not."""
        text, found = f"{question.prompt} 1 2", []
        for way in Echo.WAYS:
            error = self._try(lambda way=way: found.append(self._with_echo(text, way)))
            if error is None and found[-1] is not None:
                return way
        return None

    def _with_echo(self, text: str, way: str) -> EchoedText | None:
        asked = {**self._asked(text, 1), **Echo.WAYS[way]}
        return self._request(lambda: self._client.completions.create(**asked), lambda found: read_echo(found, way, text))

    def ask(self, asked: list[list[Asked]], rotation: str, keep: Callable[[], None]) -> None:
        """Ask what has no answer yet, `--llm_concurrency` questions at once. Raises NoAnswer if the server gives up."""
        import openai

        left = iter([one for of_episode in asked for one in of_episode if not one.right])
        with ThreadPoolExecutor(self._config.llm_concurrency) as executor:
            while chunk := list(islice(left, self._config.llm_concurrency)):
                sent = [executor.submit(self._ask, one, rotation) for one in chunk]
                wait(sent)
                keep()  # also what was answered beside a failure
                for one in sent:
                    try:
                        one.result()
                    except (openai.APIError, NoAnswer) as error:
                        raise NoAnswer(f"{self._config.llm_api}: {self._words(error)}; the same command resumes the job") from None

    def _ask(self, one: Asked, rotation: str) -> None:
        found = Asked(one.question)
        if {"argmax", "candidates"} & set(self._config.scorings):
            places = locations_of(rotation) if "candidates" in self._config.scorings else [one.question.location]
            echo = Echo(self._echoed)
            answers = self._prompter.with_tokens(echo).answers(one.question, places)
            take_scores(found, places, answers, [echo.scores(answer) for answer in answers], self._config.scorings)
        if "generate" in self._config.scorings:
            take_text(found, self._said(one.question))
        one.right, one.said = found.right, found.said

    def _said(self, question: Question) -> str:
        """Return what the model says; nothing where a filter of the server's forbids it."""
        import openai

        try:
            return self._complete(question.prompt) if self.endpoint == "completions" else self._chat(question)
        except openai.BadRequestError as error:
            if "content_filter" in str(error) or "content management policy" in str(error):
                return self._text_of(None)
            raise

    def _asked(self, text: str, n_new: int) -> dict[str, Any]:
        return {"model": self._config.llm, "prompt": text, "max_tokens": n_new, "temperature": 0}

    def _echoed(self, text: str) -> EchoedText:
        """Return the tokens of a text and the model's judgement of each."""
        echoed = self._with_echo(text, self._echo)
        if echoed is None:
            raise NoAnswer("it gave no log-probabilities of this prompt")
        return echoed

    def _complete(self, text: str) -> str:
        """Return what the model goes on with after a text."""
        asked = self._asked(text, NEW_TOKENS["completions"])

        def text_of(choice: Any) -> str:
            if choice.text is None:
                raise TypeError  # of another kind, such as a chat's
            return choice.text

        return self._answered(lambda: self._client.completions.create(**asked), text_of)

    def _chat(self, question: Question) -> str:
        """Return what the model says to a user who says the whole question."""
        name, temperature = self._way
        options = {name: NEW_TOKENS["chat"]} | ({} if temperature is None else {"temperature": temperature})
        asked = {"model": self._config.llm, "messages": self._prompter.messages(question), **options}

        def text_of(choice: Any) -> str | None:
            return choice.message.content or getattr(choice.message, "refusal", None)

        return self._answered(lambda: self._client.chat.completions.create(**asked), text_of)

    def _answered(self, send: Callable[[], Any], text_of: Callable[[Any], str | None]) -> str:
        """Return the text of a request's first choice; nothing where a filter left none."""
        return self._request(send, lambda found: self._text_of(None if found.choices == [] else text_of(found.choices[0])))

    def _text_of(self, text: str | None) -> str:
        if not (text or "").strip():
            with self._lock:
                self._usage.no_text += 1
        return (text or "").encode("utf-8", "replace").decode("utf-8")  # half a character of two is none

    def _request(self, send: Callable[[], Any], read: Callable[[Any], Read]) -> Read:
        """Return what is read of a request's answer. The client repeats it if the server is busy or broken; if the answer cannot be
        read, it is repeated here. Raises NoAnswer if that does not help, and the client's own errors."""
        import openai

        for seconds in self._pauses:
            try:
                found = send()
                answer = read(found)
                self._count(getattr(found, "usage", None))
                return answer
            except (openai.APIResponseValidationError, ValueError) as error:
                why = f"its answer cannot be read ({self._words(error)})"
            except (AttributeError, TypeError, IndexError):
                why = "its answer lacks a text"
            if seconds is not None:
                time.sleep(seconds)
        raise NoAnswer(why)

    def _count(self, usage: Any) -> None:
        with self._lock:
            self._usage.requests += 1
            self._usage.tokens_in += getattr(usage, "prompt_tokens", None) or 0
            self._usage.tokens_out += getattr(usage, "completion_tokens", None) or 0

    def _words(self, error: Exception) -> str:
        """Return an error's first line, without the key."""
        key = self._client.api_key
        return first_line(str(error).replace(key, "KEY")) if len(key) > 4 else first_line(error)

    def state(self) -> dict[str, Any]:
        """Return what the job has cost, and how it asks."""
        with self._lock:
            return {"usage": asdict(self._usage), "endpoint": self.endpoint}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue the counts. Raises NoAnswer if the job was begun at another endpoint: its answers are of another kind."""
        if (began := state.get("endpoint", self.endpoint)) != self.endpoint:
            raise NoAnswer(f"{self._config.llm_api}: the job began with its {began} and would resume with its {self.endpoint}")
        self._usage = Usage(**state.get("usage", {}))

    def spent(self) -> str:
        """Return what the job has cost."""
        used = self._usage
        line = f"{used.requests:,} requests, {used.tokens_in:,} tokens in, {used.tokens_out:,} tokens out"
        return line + (f"; {used.no_text} answers had no text, and count as wrong (llm_generated.csv)" if used.no_text else "")


def _client(config: Config, retries: int) -> OpenAI:
    """Return a client of the server. The key is the environment's, and is written nowhere."""
    if find_spec("openai") is None:
        raise BadInput("llm_api", config.llm_api, "takes the package openai: pip install -r requirements-llm.txt")
    import openai

    key = os.environ.get("OPENAI_API_KEY") or "none"  # a server at home takes any
    try:
        return openai.OpenAI(base_url=config.llm_api, api_key=key, max_retries=retries, timeout=TIMEOUT)
    except Exception as error:  # of an address that its own library cannot read
        raise BadInput("llm_api", config.llm_api, f"is no address ({first_line(error)})") from None
