"""Measures a running service: start, search, first events, many answers at once, chat, memory.

  python3 evals/service.py --binary target/release/footnote --home HOME --questions questions.jsonl \
      --model smollm2-135m [--rival MODEL.gguf] > service.json

HOME has an imported corpus and the model. `wrk` measures search; `--rival` starts llama-cpp-python's server on the same
file (it must be installed for this Python). One JSON object is printed; progress goes to standard error.
"""

import argparse
import http.client
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HEADERS = {"content-type": "application/json"}


def say(text):
    print(text, file=sys.stderr, flush=True)


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Service:
    """The server under measurement."""

    def __init__(self, binary, home, model, *more):
        self.began = time.monotonic()
        environment = dict(os.environ, FOOTNOTE_HOME=home, FOOTNOTE_OFFLINE="1", FOOTNOTE_LOG="warn")
        self.process = subprocess.Popen(
            [binary, "serve", "--addr", "127.0.0.1:0", "--model", model, *more],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.url = self.process.stdout.readline().strip().removeprefix("listening on ")
        self.address = self.url.removeprefix("http://")
        while self.call("GET", "/readyz")[0] != 200:
            pass
        self.ready_s = time.monotonic() - self.began

    def call(self, method, path, body=None):
        connection = http.client.HTTPConnection(self.address, timeout=900)
        connection.request(method, path, json.dumps(body) if body is not None else None, HEADERS)
        response = connection.getresponse()
        text = response.read()
        connection.close()
        return response.status, text

    def resident_mb(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            return int(re.search(r"VmRSS:\s+(\d+)", status.read())[1]) / 1024

    def stop(self):
        self.process.terminate()
        return self.process.wait()


def events(address, body):
    """(seconds since the request, event name) of a streamed answer."""
    connection = http.client.HTTPConnection(address, timeout=900)
    began = time.monotonic()
    connection.request("POST", "/v1/answers", json.dumps(body), {**HEADERS, "accept": "text/event-stream"})
    response = connection.getresponse()
    told = []
    for line in response:
        if line.startswith(b"event: "):
            told.append((time.monotonic() - began, line[7:].strip().decode()))
    connection.close()
    return told


def search(service, questions, seconds):
    bodies = [json.dumps({"query": question, "k": 10}) for question in questions]
    script = "local bodies = {" + ",".join(json.dumps(body) for body in bodies) + "}\n" + """
math.randomseed(os.time())
request = function()
  return wrk.format("POST", "/v1/search", {["content-type"] = "application/json"}, bodies[math.random(#bodies)])
end
done = function(summary, latency, requests)
  io.write(string.format("MEASURED %d %d %d %d %d %d\\n", summary.requests, summary.duration, latency:percentile(50),
    latency:percentile(99), latency.max, summary.errors.status + summary.errors.read + summary.errors.timeout))
end
"""
    rows = []
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        for connections in (1, 8, 32):
            output = subprocess.run(
                ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", file.name, service.url],
                capture_output=True, text=True, check=True).stdout
            count, micros, p50, p99, most, errors = map(int, re.search(r"MEASURED (.*)", output)[1].split())
            rows.append({"connections": connections, "per_second": round(count / micros * 1e6, 1),
                         "p50_ms": p50 / 1e3, "p99_ms": p99 / 1e3, "max_ms": most / 1e3, "errors": errors})
            say(rows[-1])
    return rows


def first_events(service, questions):
    told = [events(service.address, {"question": question}) for question in questions]
    def of(name):
        times = [at * 1e3 for answer in told for at, event in answer if event == name]
        return {"p50_ms": round(statistics.median(times), 1), "p99_ms": round(percentile(times, 0.99), 1), "n": len(times)}
    return {name: of(name) for name in ("accepted", "scope", "passages", "answer")}


def at_once(service, questions, count):
    began = time.monotonic()
    done = [None] * count
    def ask(number):
        time.sleep(number * 0.002)  # an order of arrival to hold the order of ending against
        status, text = service.call("POST", "/v1/answers", {"question": questions[number % len(questions)]})
        done[number] = (time.monotonic() - began, status, json.loads(text).get("id"))
    threads = [threading.Thread(target=ask, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    order = sorted(range(count), key=lambda number: done[number][0])
    late = max(place - number for place, number in enumerate(order))
    times = [at for at, _, _ in done]
    return {"asked": count, "answered": sum(status == 200 for _, status, _ in done), "different_ids": len({id_ for _, _, id_ in done}),
            "p50_s": round(statistics.median(times), 2), "last_s": round(max(times), 2),
            "most_places_later_than_arrived": late}


def chat(address, model, clients, requests, tokens):
    body = {"model": model, "temperature": 0, "max_tokens": tokens, "stream": True,
            "messages": [{"role": "user", "content": "Write a long story about a company that sells valves."}]}
    firsts, counts, lock = [], [], threading.Lock()
    def work(number):
        for turn in range(requests):
            mine = json.loads(json.dumps(body))
            mine["messages"][0]["content"] += f" Story {number}-{turn}."
            connection = http.client.HTTPConnection(address, timeout=900)
            began = time.monotonic()
            connection.request("POST", "/v1/chat/completions", json.dumps(mine), HEADERS)
            first, count = None, 0
            for line in connection.getresponse():
                if not line.startswith(b"data: {"):
                    continue
                choices = json.loads(line[6:]).get("choices") or [{}]
                if choices[0].get("delta", {}).get("content"):
                    first = first or time.monotonic() - began
                    count += 1
            connection.close()
            with lock:
                counts.append(count)
                if first:
                    firsts.append(first)
    began = time.monotonic()
    threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.monotonic() - began
    return {"clients": clients, "requests": clients * requests, "without_text": clients * requests - len(firsts), "chunks": sum(counts), "chunks_per_s": round(sum(counts) / took, 1),
            "first_p50_ms": round(statistics.median(firsts) * 1e3), "first_max_ms": round(max(firsts) * 1e3)}


def hour(service, questions, model):
    """What an hour brings at one search a second, an answer every ten, a chat every thirty, as fast as it goes."""
    random.seed(3)
    work = ["search"] * 3600 + ["answer"] * 360 + ["chat"] * 120
    random.shuffle(work)
    sizes, lock, failed = [service.resident_mb()], threading.Lock(), []
    def run():
        while True:
            with lock:
                if not work:
                    return
                kind = work.pop()
                if len(work) % 510 == 0:
                    sizes.append(service.resident_mb())
            question = random.choice(questions)
            if kind == "search":
                status, _ = service.call("POST", "/v1/search", {"query": question, "k": 10})
            elif kind == "answer":
                status, _ = service.call("POST", "/v1/answers", {"question": question})
            else:
                status, _ = service.call("POST", "/v1/chat/completions", {"model": model, "max_tokens": 32, "messages": [{"role": "user", "content": question}]})
            if status != 200:
                failed.append((kind, status))
    began = time.monotonic()
    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"searches": 3600, "answers": 360, "chats": 120, "took_s": round(time.monotonic() - began), "failed": failed,
            "resident_mb": [round(size) for size in sizes]}


def rival(file, tokens):
    port = 8123
    process = subprocess.Popen(
        [sys.executable, "-m", "llama_cpp.server", "--model", file, "--port", str(port), "--n_threads", "2", "--n_ctx", "4096",
         # By default a new request breaks off the one in hand.
         "--interrupt_requests", "false"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"127.0.0.1:{port}"
    try:
        while True:
            try:
                connection = http.client.HTTPConnection(address, timeout=5)
                connection.request("GET", "/v1/models")
                name = json.loads(connection.getresponse().read())["data"][0]["id"]
                break
            except OSError:
                time.sleep(0.2)
        return [chat(address, name, clients, 2, tokens) for clients in (1, 4)]
    finally:
        process.terminate()
        process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--home", required=True)
    parser.add_argument("--questions", required=True, help="JSON lines with a field question")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rival", help="the same model's GGUF file, for llama-cpp-python's server")
    parser.add_argument("--seconds", type=int, default=10)
    arguments = parser.parse_args()
    with open(arguments.questions) as file:
        questions = [json.loads(line)["question"] for line in file]
    ready = []
    for _ in range(3):
        service = Service(arguments.binary, arguments.home, arguments.model)
        ready.append(round(service.ready_s, 2))
        if len(ready) < 3:
            service.stop()
    result = {"cores": os.cpu_count(), "ready_s": ready, "resident_mb_at_start": round(service.resident_mb())}
    say(result)
    result["search"] = search(service, questions, arguments.seconds)
    for name, work in (
        ("first_events", lambda: first_events(service, questions[:32])),
        ("answers_at_once", lambda: at_once(service, questions, 64)),
        ("chat", lambda: [chat(service.address, arguments.model, clients, 2, 64) for clients in (1, 4)]),
        ("hour", lambda: hour(service, questions, arguments.model)),
    ):
        result[name] = work()
        say({name: result[name]})
    result["stopped_in_order"] = service.stop() == 0
    if arguments.rival:
        result["rival_chat"] = rival(arguments.rival, 64)
        say({"rival_chat": result["rival_chat"]})
    print(json.dumps(result, indent=1))


main()
