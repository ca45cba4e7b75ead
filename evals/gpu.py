#!/usr/bin/env python3
"""Measures Footnote on a GPU: one command, at most ten minutes, one Markdown table and one JSON file.

    cargo build --release --features cuda
    python3 evals/gpu.py --out gpu.json > gpu-table.md

Needs a GPU, its driver, and `footnote` built with CUDA. What else is missing (PyTorch for the rival, the Qwen files, the
kernels' test binary) is skipped by name. Each part runs in a process of its own under its share of the time, the rival in
the same run on the same shapes and dtypes. `--self-test` tests what needs no GPU.
"""

import argparse
import json
import os
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MEMORY_BYTES_PER_S = 3.0e12
OPERATIONS_PER_S = 790e12
# Layers, hidden, feed-forward, heads, KV heads, head width, vocabulary: as `footnote engine bench --synthetic` has them.
SHAPES = {
    "llama-3.1-8b": (32, 4096, 14336, 32, 8, 128, 128256),
    "llama-2-7b": (32, 4096, 11008, 32, 32, 128, 32000),
    "qwen2.5-1.5b": (28, 1536, 8960, 12, 2, 128, 151936),
}
BATCHES = [1, 8, 32]
CONTEXTS = [1024, 8192, 32768, 131072]
CACHES = ["full", "kv4", "xquant4", "xquant2", "xquant-cl2"]
PREFILLS = [2048, 8192]
PAIRS = ["qwen2.5-0.5b,qwen2.5-14b", "llama-3.2-1b,llama-3.1-8b"]
FIRST_TOKENS = [8192, 32768, 131072]
REAL = ["qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b"]
PROMPTS = [
    "The company's revenue for fiscal 2024 was",
    "def cash_flow(operating, investing, financing):\n",
    "Item 7. Management's Discussion and Analysis. Net sales",
    "A list of risk factors:\n1.",
    "The balance sheet shows total assets of $4,512 million and",
    "Depreciation is charged on a straight-line basis over",
    "SELECT ticker, SUM(revenue) FROM filings WHERE",
    "In the event of a change in control, the executive",
    "Goodwill is tested for impairment",
    "The proxy statement describes the compensation of",
]


class Clock:
    """Time that is left, in all and for a part."""

    def __init__(self, seconds):
        self.end = time.monotonic() + seconds

    def part(self, share):
        """Seconds that a part may take; 0 where it should not begin."""
        left = self.end - time.monotonic() - 3
        return int(min(share, left)) if left > 5 else 0


# ---- What needs no GPU -------------------------------------------------------------------------------------------------


def weights_of(shape):
    layers, hidden, inner, heads, kv_heads, width, vocab = shape
    layer = hidden * width * (2 * heads + 2 * kv_heads) + 3 * inner * hidden
    return layers * layer, vocab * hidden


def decode_floor_ms(shape, batch, context):
    """The least time of a step on full caches, as `engine bench --floors` works it out."""
    layers, _, _, heads, kv_heads, width, _ = shape
    weights = sum(weights_of(shape))
    moved = 2 * weights + batch * context * layers * 2 * kv_heads * width * 2
    operations = 2 * weights * batch + layers * 4 * heads * width * batch * context
    return 1e3 * max(moved / MEMORY_BYTES_PER_S, operations / OPERATIONS_PER_S)


def prefill_floor_ms(shape, tokens):
    layers, _, _, heads, kv_heads, width, _ = shape
    in_layers, output = weights_of(shape)
    attention = layers * 4 * heads * width * tokens * (tokens + 1) / 2
    operations = 2 * in_layers * tokens + 2 * output + attention
    moved = 2 * (in_layers + output) + tokens * layers * 2 * kv_heads * width * 2
    return 1e3 * max(moved / MEMORY_BYTES_PER_S, operations / OPERATIONS_PER_S)


def number(value):
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"


def share(value):
    return "" if value is None else f"{100 * value:.0f} %"


def markdown(columns, rows):
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(number(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def find(cells, **wanted):
    for cell in cells or []:
        if all(cell.get(name) == value for name, value in wanted.items()):
            return cell
    return {}


def giga(value):
    return None if value is None else value / 1e9


def rows_of(results):
    """One row a measurement; what was skipped says why in the last column."""
    rows = []
    for name, shape in results.get("shapes", {}).items():
        rival = results.get("rival", {}).get(name, {})
        for cell in shape.get("prefill", []):
            beside = find(rival.get("prefill"), prompt_tokens=cell["prompt_tokens"])
            rows.append([name, "prefill", "full", 1, cell["prompt_tokens"], cell.get("tok_s"), cell.get("ms"), cell.get("floor_ms"),
                         share(cell.get("of_floor")), None, None, beside.get("ms"), cell.get("skipped", beside.get("skipped", ""))])
        for cell in shape.get("decode", []):
            beside = find(rival.get("decode"), batch=cell["batch"], context=cell["context"]) if cell["cache"] == "full" else {}
            rows.append([name, "decode", cell["cache"], cell["batch"], cell["context"], cell.get("tok_s"), cell.get("ms_step"),
                         cell.get("floor_ms"), share(cell.get("of_floor")), giga(cell.get("cache_bytes")), cell.get("largest_batch"),
                         beside.get("ms"), cell.get("skipped", "")])
        if "skipped" in shape:
            rows.append([name, "all"] + [None] * 10 + [shape["skipped"]])
    for name, pair in results.get("pairs", {}).items():
        for cell in pair.get("first_token", []):
            for what, ms in [("dense", cell.get("dense_ms")), (f"draft, {cell['kept']} stay", cell.get("specpc_ms"))]:
                floor = cell.get("dense_floor_ms") if what == "dense" else None
                rows.append([name, "first token", what, 1, cell["prompt_tokens"], None, ms, floor, share(floor and ms and floor / ms),
                             None, None, None, cell.get("skipped", "")])
        if "skipped" in pair:
            rows.append([name, "first token"] + [None] * 10 + [pair["skipped"]])
    for name, real in results.get("real", {}).items():
        what = real.get("skipped") or (f"{real['same']} of {real['prompts']} prompts give the same 200 tokens; perplexity "
                                       f"{number(real.get('ppl_cpu'))} on the CPU, {number(real.get('ppl_gpu'))} on the GPU")
        rows.append([name, "CPU against GPU"] + [None] * 10 + [what])
    return rows


COLUMNS = ["shape", "what", "cache", "batch", "tokens", "tok/s", "ms", "least ms", "of it", "cache GB", "fit", "PyTorch ms", ""]


def verdicts(results):
    """The targets, each with what was measured: (target, met or not or None, how)."""
    said = []

    def judge(target, values, wanted):
        values = [value for value in values if value is not None]
        if not values:
            said.append((target, None, "not measured"))
        else:
            worst = min(values)
            said.append((target, worst >= wanted, f"{worst:.2f} at worst of {len(values)}, {wanted:.2f} wanted"))

    shapes = results.get("shapes", {})
    decode = {name: shape.get("decode", []) for name, shape in shapes.items()}
    judge("full at 80 % of the floor at batch 1",
          [cell.get("of_floor") for cells in decode.values() for cell in cells if cell["cache"] == "full" and cell["batch"] == 1], 0.8)
    speed, room = [], []
    for cell in decode.get("llama-3.1-8b", []):
        if cell["cache"] != "xquant4" or cell["context"] < 8192:
            continue
        full = find(decode["llama-3.1-8b"], cache="full", batch=cell["batch"], context=cell["context"])
        if full.get("ms_step") and cell.get("ms_step"):
            speed.append(full["ms_step"] / cell["ms_step"])
        if full.get("largest_batch") and cell.get("largest_batch"):
            room.append(cell["largest_batch"] / full["largest_batch"])
    judge("xquant4 no slower than full from 8k up (GQA), as a ratio of speeds", speed, 1.0)
    judge("xquant4 holds three times as many sequences", room, 3.0)
    judge("prefill at 60 % of the matrix rate from 2k up",
          [cell.get("of_floor") for shape in shapes.values() for cell in shape.get("prefill", [])], 0.6)
    judge("first token four times as fast by the draft at 32k",
          [cell.get("times") for pair in results.get("pairs", {}).values() for cell in pair.get("first_token", [])
           if cell["prompt_tokens"] == 32768], 4.0)
    real = [real for real in results.get("real", {}).values() if "same" in real]
    judge("the same tokens as on the CPU, as a share of prompts", [one["same"] / one["prompts"] for one in real if one["prompts"]], 1.0)
    return said


def report(results):
    parts = [f"# {results.get('gpu', 'no GPU')}", markdown(COLUMNS, rows_of(results)), ""]
    for target, met, how in verdicts(results):
        mark = {True: "met", False: "**missed**", None: "open"}[met]
        parts.append(f"* {target}: {mark} ({how})")
    for name, why in results.get("skipped", {}).items():
        parts.append(f"* skipped: {name}: {why}")
    return "\n".join(parts)


# ---- Parts, each a process ---------------------------------------------------------------------------------------------


def run(command, seconds, **more):
    """(exit code, standard output, last line of standard error); code None where it ran out of time."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL, **more)
    except subprocess.TimeoutExpired:
        return None, "", f"ran longer than {seconds} s"
    last = [line for line in done.stderr.splitlines() if line.strip()][-1:]
    return done.returncode, done.stdout, last[0].strip() if last else f"exit code {done.returncode}"


def asked(command, seconds):
    """A command's JSON, or why there is none. Exit code 3 is done in part."""
    code, out, why = run(command, seconds)
    if code not in (0, 3):
        return {"skipped": why}
    try:
        return json.loads(out)
    except ValueError:
        return {"skipped": f"{command[1]} {command[2]} printed no JSON: {out[:80]!r}"}


def comma(values):
    return ",".join(str(value) for value in values)


def real_model(footnote, name, device, text, seconds):
    """The same prompts greedily on both; perplexities of the same text."""
    code, path, why = run([footnote, "models", "path", name], 10)
    if code != 0 or not os.path.exists(path.strip()):
        return {"skipped": f"no file (`footnote models get {name}`): {why if code else path.strip()}"}
    clock = Clock(seconds)
    outcome = {"prompts": 0, "same": 0, "apart": []}
    command = [footnote, "engine", "generate", "--model", name, "--max-tokens", "200", "--json", "--prompt"]
    for prompt in PROMPTS:
        texts = []
        for where in (device, "cpu"):
            left = clock.part(seconds)
            said = asked(command + [prompt, "--device", where], left) if left else {"skipped": "no time was left"}
            if "skipped" in said:
                outcome["stopped"] = said["skipped"]
                break
            texts.append(said["text"])
        if len(texts) < 2:
            break
        outcome["prompts"] += 1
        if texts[0] == texts[1]:
            outcome["same"] += 1
        else:
            at = next((i for i, (a, b) in enumerate(zip(*texts)) if a != b), min(map(len, texts)))
            outcome["apart"].append({"prompt": prompt, "same_characters": at, "of": len(texts[1])})
    for where, key in [(device, "ppl_gpu"), ("cpu", "ppl_cpu")]:
        left = clock.part(seconds)
        command = [footnote, "engine", "perplexity", "--model", name, "--text", text, "--max-tokens", "2048", "--json", "--device", where]
        said = asked(command, left) if left else {"skipped": "no time was left"}
        outcome[key] = said.get("ppl_full")
    return outcome


def rival(name, seconds):
    """PyTorch on the same shape: bf16, its own attention, static caches, a recorded graph a step. Prints JSON."""
    end = time.monotonic() + seconds
    try:
        import torch
        import torch.nn.functional as F
    except ImportError as error:
        return {"skipped": f"no PyTorch: {error}"}
    if not torch.cuda.is_available():
        return {"skipped": "PyTorch sees no GPU"}
    layers, hidden, inner, heads, kv_heads, width, vocab = SHAPES[name]
    group = heads // kv_heads
    where = {"device": "cuda", "dtype": torch.bfloat16}

    def matrix(rows, columns):
        return torch.empty(rows, columns, **where).uniform_(-1, 1).mul_((3 / columns) ** 0.5)

    weights = [
        [matrix((heads + 2 * kv_heads) * width, hidden), matrix(hidden, heads * width), matrix(2 * inner, hidden), matrix(hidden, inner)]
        for _ in range(layers)
    ]
    output, embedding = matrix(vocab, hidden), matrix(vocab, hidden)
    scale = torch.ones(hidden, **where)

    def norm(x):
        return F.rms_norm(x, (hidden,), scale, 1e-5)

    def turn(x, cosine, sine):
        low, high = x.chunk(2, -1)
        return x * cosine + torch.cat((-high, low), -1) * sine

    def angles(first, count):
        frequency = 5e5 ** (-torch.arange(0, width, 2, device="cuda") / width)
        angle = torch.outer(torch.arange(first, first + count, device="cuda"), frequency)
        angle = torch.cat((angle, angle), -1)
        return angle.cos().to(torch.bfloat16), angle.sin().to(torch.bfloat16)

    def forward(tokens, cosine, sine, caches, at, grouped):
        batch, count = tokens.shape
        x = embedding[tokens]
        for (qkv, out, widen, down), cache in zip(weights, caches):
            made = F.linear(norm(x), qkv).view(batch, count, heads + 2 * kv_heads, width).transpose(1, 2)
            q, k, v = made.split([heads, kv_heads, kv_heads], 1)
            q, k = turn(q, cosine, sine), turn(k, cosine, sine)
            if cache is None:
                a = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
            else:
                cache[0].index_copy_(2, at, k)
                cache[1].index_copy_(2, at, v)
                if grouped:
                    # The heads that share a KV head as queries of one: the caches are read once.
                    a = F.scaled_dot_product_attention(q.reshape(batch, kv_heads, group, width), cache[0], cache[1])
                    a = a.reshape(batch, heads, 1, width)
                else:
                    a = F.scaled_dot_product_attention(q, cache[0], cache[1], enable_gqa=True)
            x = x + F.linear(a.transpose(1, 2).reshape(batch, count, heads * width), out)
            gate, up = F.linear(norm(x), widen).chunk(2, -1)
            x = x + F.linear(F.silu(gate) * up, down)
        return F.linear(norm(x[:, -1]), output)

    def timed(work, repeats):
        work()
        torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(repeats):
            work()
        torch.cuda.synchronize()
        return (time.perf_counter() - started) / repeats * 1e3

    def prefill(count):
        tokens = torch.randint(vocab, (1, count), device="cuda")
        cosine, sine = angles(0, count)
        ms = timed(lambda: forward(tokens, cosine, sine, [None] * layers, None, False), 2)
        return {"ms": ms, "tok_s": count / ms * 1e3, "floor_ms": prefill_floor_ms(SHAPES[name], count)}

    def decode(batch, context):
        needed = batch * context * layers * 2 * kv_heads * width * 2
        if needed > torch.cuda.mem_get_info()[0] - (2 << 30):
            return {"skipped": f"{needed / 1e9:.0f} GB of cache do not fit"}
        caches = [[torch.zeros(batch, kv_heads, context, width, **where) for _ in "kv"] for _ in range(layers)]
        tokens = torch.ones(batch, 1, dtype=torch.long, device="cuda")
        at = torch.tensor([context - 1], device="cuda")
        cosine, sine = angles(context - 1, 1)
        best = {}
        for grouped in (True, False):
            work = lambda: forward(tokens, cosine, sine, caches, at, grouped)
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(2):
                    work()
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                work()
            ms = timed(graph.replay, 5)
            if not best or ms < best["ms"]:
                best = {"ms": ms, "tok_s": batch / ms * 1e3, "as": "grouped heads" if grouped else "enable_gqa"}
            del graph
        return {**best, "floor_ms": decode_floor_ms(SHAPES[name], batch, context)}

    def cell(of, work):
        if time.monotonic() > end:
            return {**of, "skipped": "no time was left"}
        try:
            with torch.inference_mode():
                return {**of, **work()}
        except (RuntimeError, TypeError) as error:
            return {**of, "skipped": str(error).splitlines()[0]}
        finally:
            torch.cuda.empty_cache()

    return {
        "torch": torch.__version__,
        "prefill": [cell({"prompt_tokens": count}, lambda: prefill(count)) for count in PREFILLS],
        "decode": [
            cell({"batch": batch, "context": context}, lambda: decode(batch, context)) for batch in BATCHES for context in CONTEXTS
        ],
    }


def measure(args, gpu):
    clock = Clock(args.seconds)
    footnote = args.footnote
    results = {"gpu": gpu, "seconds": args.seconds, "shapes": {}, "rival": {}, "pairs": {}, "real": {}, "skipped": {}}

    def part(name, share, work):
        seconds = clock.part(share * args.seconds / 600)
        print(f"{name}: up to {seconds} s", file=sys.stderr)
        return work(seconds) if seconds else {"skipped": "no time was left"}

    def tests(seconds):
        code, _, why = run([args.tests], seconds)
        return {"passed": True} if code == 0 else {"skipped": f"failed: {why}"}

    if args.tests:
        results["tests"] = part("the kernels' tests", 50, tests)
        if "skipped" in results["tests"]:
            results["skipped"]["the kernels' tests"] = results["tests"]["skipped"]
    else:
        results["skipped"]["the kernels' tests"] = "no --tests; `cargo test -p footnote-device --features cuda,emulator --test gpu --no-run` builds them"
    for name, share in [("llama-3.1-8b", 85), ("llama-2-7b", 65), ("qwen2.5-1.5b", 40)]:
        def shape(seconds):
            command = [footnote, "engine", "bench", "--synthetic", name, "--device", args.device, "--json", "--seconds",
                       str(max(seconds - 15, 1)), "--batch", comma(BATCHES), "--contexts", comma(CONTEXTS), "--caches", comma(CACHES),
                       "--prompts", comma(PREFILLS)]
            return asked(command, seconds)
        results["shapes"][name] = part(name, share, shape)
        beside = [sys.executable, os.path.abspath(__file__), "--rival", name, "--seconds"]
        results["rival"][name] = part(f"PyTorch, {name}", share / 2, lambda seconds: asked(beside + [str(max(seconds - 10, 1))], seconds))
        if "skipped" in results["rival"][name]:
            results["skipped"][f"PyTorch, {name}"] = results["rival"][name]["skipped"]
    for pair in PAIRS:
        def first(seconds):
            command = [footnote, "engine", "bench", "--pair", pair, "--device", args.device, "--json", "--seconds",
                       str(max(seconds - 8, 1)), "--prompts", comma(FIRST_TOKENS)]
            return asked(command, seconds)
        results["pairs"][pair] = part(pair, 65, first)
    for name in REAL:
        results["real"][name] = part(name, 60, lambda seconds: real_model(footnote, name, args.device, args.text, seconds))
    return results


def self_test(footnote):
    llama = SHAPES["llama-3.1-8b"]
    assert abs(sum(weights_of(llama)) - 7.505e9) < 0.01e9
    assert abs(decode_floor_ms(llama, 1, 8192) - 5.36) < 0.02
    assert decode_floor_ms(llama, 32, 8192) > 3 * decode_floor_ms(llama, 1, 8192)
    assert abs(prefill_floor_ms(llama, 2048) - 37.6) < 0.6
    cell = {"cache": "full", "batch": 1, "context": 8192, "tok_s": 150.0, "ms_step": 6.6, "floor_ms": 5.36, "of_floor": 0.81,
            "cache_bytes": 1073741824, "largest_batch": 56}
    coded = {**cell, "cache": "xquant4", "ms_step": 6.0, "largest_batch": 180}
    gone = {"cache": "full", "batch": 32, "context": 131072, "skipped": "32 sequences do not fit"}
    results = {
        "gpu": "a card",
        "shapes": {"llama-3.1-8b": {"decode": [cell, coded, gone], "prefill": [{"prompt_tokens": 2048, "ms": 80.0, "of_floor": 0.47}]},
                   "llama-2-7b": {"skipped": "ran longer than 5 s"}},
        "rival": {"llama-3.1-8b": {"decode": [{"batch": 1, "context": 8192, "ms": 7.1}]}},
        "pairs": {"a,b": {"first_token": [{"prompt_tokens": 32768, "kept": 2048, "dense_ms": 900.0, "dense_floor_ms": 500.0,
                                           "specpc_ms": 200.0, "times": 4.5}]}},
        "real": {"m": {"prompts": 10, "same": 9, "ppl_cpu": 12.345, "ppl_gpu": 12.346}, "n": {"skipped": "no file"}},
        "skipped": {"the kernels' tests": "no --tests"},
    }
    text = report(results)
    assert "| llama-3.1-8b | decode | full | 1 | 8,192 | 150 | 6.60 | 5.36 | 81 % | 1.07 | 56 | 7.10 |  |" in text, text
    for wanted in ["32 sequences do not fit", "ran longer than 5 s", "9 of 10 prompts", "no --tests", "| first token | dense |"]:
        assert wanted in text, (wanted, text)
    met = {target: met for target, met, _ in verdicts(results)}
    assert list(met.values()) == [True, True, True, False, True, False], met
    assert all(met is None for _, met, _ in verdicts({}))
    widths = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert widths == {len(COLUMNS) + 1}, widths
    assert Clock(0).part(10) == 0 and Clock(100).part(10) == 10
    if os.path.exists(footnote):
        for name, shape in SHAPES.items():
            said = asked([footnote, "engine", "bench", "--synthetic", name, "--floors", "--caches", "full", "--json"], 60)
            for cell in said["decode"]:
                ours = decode_floor_ms(shape, cell["batch"], cell["context"])
                assert abs(ours / cell["floor_ms"] - 1) < 1e-6, (name, cell, ours)
            for cell in said["prefill"]:
                assert abs(prefill_floor_ms(shape, cell["prompt_tokens"]) / cell["floor_ms"] - 1) < 1e-6, (name, cell)
        print("ok, and the floors are those of", footnote)
    else:
        print("ok;", footnote, "is not built, so its floors were not compared")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--footnote", default=os.path.join(ROOT, "target", "release", "footnote"), help="the binary, built with CUDA")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--tests", help="the kernels' GPU test binary (footnote-device, test `gpu`)")
    parser.add_argument("--text", default=os.path.join(ROOT, "README.md"), help="the text of the perplexities")
    parser.add_argument("--seconds", type=int, default=585, help="the time for everything")
    parser.add_argument("--out", default="gpu.json", help="the JSON file")
    parser.add_argument("--self-test", action="store_true", help="test what needs no GPU")
    parser.add_argument("--rival", choices=SHAPES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.self_test:
        return self_test(args.footnote)
    if args.rival:
        print(json.dumps(rival(args.rival, args.seconds)))
        return
    try:
        code, gpu, why = run(["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"], 20)
    except OSError:
        code, gpu, why = 1, "", "nvidia-smi is not installed"
    if code != 0 or not gpu.strip():
        sys.exit(f"no GPU to measure on: {why}; run this on a machine with an NVIDIA GPU and its driver")
    if not os.path.exists(args.footnote):
        sys.exit(f"{args.footnote} is not there; `cargo build --release --features cuda` builds it, --footnote names another")
    results = measure(args, gpu.splitlines()[0].strip())
    with open(args.out, "w", encoding="utf-8") as file:
        json.dump(results, file, indent=1)
    print(report(results))


if __name__ == "__main__":
    main()
