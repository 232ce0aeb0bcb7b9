"""A server of OpenAI's protocol over a model of transformers, with log-probabilities as vLLM has them; and one that disturbs it.

python -m tests.pretrained.small_server FOLDER [--without echo|prompt_logprobs|completions|chat ...]   prints its address
"""

import argparse
import json
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from llm.generation import continued, settings


class Handler(BaseHTTPRequestHandler):
    """Reads and writes JSON, and says nothing."""

    protocol_version = "HTTP/1.1"

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def reply(self, status: int, body: bytes, kind: str = "application/json", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Model:
    """What is asked of the model, in the words of the protocol."""

    def __init__(self, folder: str, without: list[str]):
        self.model, self.tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
        self.without, self.lock, self.prompts = without, threading.Lock(), Counter()

    @torch.no_grad()
    def completion(self, asked: dict) -> dict:
        ids = self.tokenizer(asked["prompt"]).input_ids
        chosen = settings(self.model, self.tokenizer, asked["max_tokens"], 1, use_cache=True)
        with self.lock:
            self.prompts[asked["prompt"]] += 1
            new = continued(self.model, torch.tensor([ids]), chosen)[0].tolist()
            log_p = self.model(input_ids=torch.tensor([ids + new])).logits[0].float().log_softmax(-1)
        choice = {"index": 0, "finish_reason": "length", "text": self.tokenizer.decode(new, skip_special_tokens=True)}
        usage = {"prompt_tokens": len(ids), "completion_tokens": len(new), "total_tokens": len(ids) + len(new)}
        own = [None, *(float(log_p[t - 1, token]) for t, token in enumerate((ids + new)[1:], start=1))]
        tops = [None, *((float(value), int(token)) for value, token in zip(*log_p[:-1].max(-1), strict=True))]
        names = [self._name(token) for token in ids + new]
        if asked.get("echo") and "echo" not in self.without:
            best = [
                None,
                *(
                    {self._name(token): value, name: p}
                    for (value, token), name, p in zip(tops[1:], names[1:], own[1:], strict=True)
                ),
            ]
            choice |= {
                "text": asked["prompt"] + choice["text"],
                "logprobs": {"tokens": names, "token_logprobs": own, "top_logprobs": best},
            }
        if asked.get("prompt_logprobs") and "prompt_logprobs" not in self.without:
            choice["prompt_logprobs"] = [None, *(self._ranked(t, ids, own, tops) for t in range(1, len(ids)))]
        return {"id": "1", "object": "text_completion", "created": 1, "model": "small", "choices": [choice], "usage": usage}

    def _name(self, token: int) -> str:
        return self.tokenizer.convert_ids_to_tokens(token).replace("▁", " ").replace("Ġ", " ")

    def _ranked(self, t: int, ids: list[int], own: list, tops: list) -> dict:
        value, token = tops[t]
        ranked = {str(token): {"logprob": value, "rank": 1, "decoded_token": self._name(token)}}
        if token != ids[t]:
            ranked[str(ids[t])] = {"logprob": own[t], "rank": 2, "decoded_token": self._name(ids[t])}
        return ranked

    def chat(self, asked: dict) -> dict:
        with self.lock:
            self.prompts[asked["messages"][-1]["content"]] += 1
        if asked["model"] == "held":  # back by a filter
            return {"id": "1", "object": "chat.completion", "created": 1, "model": "small", "choices": []}
        text = {"refuse": None, "empty": ""}.get(asked["model"], "It lives at 1, 2.")
        message = {"role": "assistant", "content": text, "refusal": "I will not." if asked["model"] == "refuse" else None}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        return {"id": "1", "object": "chat.completion", "created": 1, "model": "small", "choices": [choice]}


def serve(handler: type[Handler]) -> ThreadingHTTPServer:
    """Start a server on a free port; `server_address` has it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def address(server: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/v1"


def model_server(model: Model) -> ThreadingHTTPServer:
    """A server of a model, by four names."""

    class ModelHandler(Handler):
        def do_GET(self):
            names = [
                {"id": name, "object": "model", "created": 1, "owned_by": "us"} for name in ("small", "refuse", "empty", "held")
            ]
            self.reply(200, json.dumps({"object": "list", "data": names}).encode())

        def do_POST(self):
            asked, what = json.loads(self.body()), self.path.removeprefix("/v1/")
            made = {"completions": model.completion, "chat/completions": model.chat}.get(what)
            if made is None or what.partition("/")[0] in model.without:
                return self.reply(404, b'{"error": {"message": "there is no such endpoint"}}')
            return self.reply(200, json.dumps(made(asked)).encode())

    return serve(ModelHandler)


class Disturbed:
    """Passes requests on, and disturbs them in turn: `faults` lists what becomes of each; it begins anew at its end."""

    def __init__(self, target: str, faults: list[str], key: str = ""):
        self.faults, self.seen, self.lock = faults, 0, threading.Lock()
        outer, base = self, target.removesuffix("/v1")

        class Proxy(Handler):
            def do_GET(self):
                self._pass("")

            def do_POST(self):
                with outer.lock:
                    fault = outer.faults[outer.seen % len(outer.faults)] if outer.faults else ""
                    outer.seen += 1
                self._pass(fault)

            def _pass(self, fault: str) -> None:
                body = self.body()
                if fault in ("429", "500", "401"):
                    words = json.dumps({"error": {"message": f"no: {key or fault}"}}).encode()
                    return self.reply(int(fault), words, retry_after="0")
                if fault == "garbage":
                    return self.reply(200, b"<html>busy</html>", "text/html")
                if fault == "overloaded":
                    return self.reply(200, b'{"error": {"message": "overloaded"}}')
                if fault == "broken":
                    return self.reply(200, b'{"choices": [{')
                if fault == "slow":
                    time.sleep(0.5)
                request = urllib.request.Request(base + self.path, body or None, dict(self.headers), method=self.command)
                try:
                    with urllib.request.urlopen(request) as answer:
                        status, found = answer.status, answer.read()
                except urllib.error.HTTPError as error:
                    status, found = error.code, error.read()
                if fault == "cut":
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(found)))
                    self.end_headers()
                    self.wfile.write(found[: len(found) // 2])
                    self.close_connection = True
                    return None
                return self.reply(status, found)

        self.server = serve(Proxy)
        self.address = address(self.server)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--without", nargs="*", default=[])
    options = parser.parse_args()
    print(address(model_server(Model(options.folder, options.without))), flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
