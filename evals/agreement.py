#!/usr/bin/env python3
"""Does the engine say what llama.cpp says, on the same GGUF and the same text?

Compares tokens, next-token top-1 at every position, and perplexity, over sequences cut from a page
corpus ({"text": …} lines, plain or .zst). Needs llama-cpp-python, and the example binary:

    cargo build --release -p footnote-engine --example top1
    python3 evals/agreement.py --model M.gguf --pages PAGES.jsonl.zst --top1 target/release/examples/top1

With --exact TWIN.gguf (the same weights as F32, by evals/dequantize.py) it also says how often each engine
agrees on the quantised file with what its weights say without any rounding of inputs (llama.cpp on the twin):
the two differ by the rounding of both, and this says whose.

Exits 1 where fewer than --least of the positions agree or any text is tokenised differently.
"""

import argparse
import json
import math
import random
import subprocess
import sys

import llama_cpp
import numpy as np


def texts(path, count, characters, seed):
    """Random pages' middles, long enough to fill a sequence."""
    if path.endswith(".zst"):
        lines = subprocess.run(["zstd", "-dcq", path], check=True, capture_output=True).stdout
    else:
        with open(path, "rb") as file:
            lines = file.read()
    pages = [json.loads(line)["text"] for line in lines.splitlines()]
    pages = [page for page in pages if len(page) > 2 * characters]
    chosen = random.Random(seed).sample(pages, min(count, len(pages)))
    return [page[len(page) // 4 :][:characters] for page in chosen]


def rival(model, sequences):
    """llama.cpp's top-1 after every token and log probability of the next, per sequence."""
    results = []
    for tokens in sequences:
        model.reset()
        model.eval(tokens)
        logits = np.array(model.scores[: len(tokens)], dtype=np.float64)
        highest = logits.max(axis=1, keepdims=True)
        normaliser = highest[:, 0] + np.log(np.exp(logits - highest).sum(axis=1))
        following = logits[np.arange(len(tokens) - 1), tokens[1:]] - normaliser[:-1]
        margin = -np.diff(np.sort(np.partition(logits, -2, axis=1)[:, -2:], axis=1))[:, 0]
        results.append((logits.argmax(axis=1).tolist(), following.tolist(), (-margin).tolist()))
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--pages", required=True)
    parser.add_argument("--top1", required=True, help="the built example binary")
    parser.add_argument("--sequences", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=192, help="positions of each sequence")
    parser.add_argument("--tokenised", type=int, default=200, help="texts for the tokenizer alone")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--least", type=float, default=0.99)
    parser.add_argument("--exact", help="the model's weights as F32")
    options = parser.parse_args()

    model = llama_cpp.Llama(
        options.model, n_ctx=options.tokens + 8, n_batch=options.tokens, logits_all=True, verbose=False
    )
    passages = texts(options.pages, options.tokenised, options.tokens * 4, options.seed)
    passages.append("naïve café — 1,234.5 £€ \u200b\u00a0 𝒳 日本 🏦\r\n\tx  \n\n it's WE'LL")
    expected = [model.tokenize(p.encode(), add_bos=False, special=False) for p in passages]
    sequences = [tokens[: options.tokens] for tokens in expected[: options.sequences]]

    lines = [json.dumps({"text": passage}) for passage in passages]
    lines += [json.dumps({"tokens": tokens}) for tokens in sequences]
    ours = subprocess.run(
        [options.top1, options.model], input="\n".join(lines), check=True, capture_output=True, text=True
    ).stdout
    ours = [json.loads(line) for line in ours.splitlines()]
    tokenised, ours = ours[: len(passages)], ours[len(passages) :]
    different = [i for i, tokens in enumerate(expected) if tokens != tokenised[i]["tokens"]]

    same = positions = 0
    sums = [0.0, 0.0]
    close = []
    theirs = rival(model, sequences)
    for mine, (top1, following, margin) in zip(ours, theirs):
        for position, (left, right) in enumerate(zip(mine["top1"], top1)):
            positions += 1
            same += left == right
            if left != right:
                close.append(round(margin[position], 3))
        sums[0] += sum(mine["logp"])
        sums[1] += sum(following)
    scored = sum(len(tokens) - 1 for tokens in sequences)
    perplexity = [math.exp(-total / scored) for total in sums]
    extra = {}
    if options.exact:
        del model
        twin = llama_cpp.Llama(
            options.exact, n_ctx=options.tokens + 8, n_batch=options.tokens, logits_all=True, verbose=False
        )
        exact = rival(twin, sequences)

        def agreement(runs):
            pairs = [pair for run, (top1, *_) in zip(runs, exact) for pair in zip(run, top1)]
            return round(sum(left == right for left, right in pairs) / len(pairs), 5)

        extra = {
            "exact_top1_ours": agreement([mine["top1"] for mine in ours]),
            "exact_top1_llama_cpp": agreement([top1 for top1, *_ in theirs]),
            "exact_ppl": round(math.exp(-sum(sum(following) for _, following, _ in exact) / scored), 4),
        }
    print(
        json.dumps(
            {
                "model": options.model.rsplit("/", 1)[-1],
                "positions": positions,
                "top1_agreement": round(same / positions, 5),
                "margins_where_not": sorted(close),
                "ppl": round(perplexity[0], 4),
                "ppl_llama_cpp": round(perplexity[1], 4),
                "ppl_difference": round(perplexity[0] / perplexity[1] - 1, 5),
                "texts_tokenised": len(passages),
                "texts_tokenised_differently": len(different),
                **extra,
            }
        )
    )
    for index in different[:5]:
        print(f"tokens differ: {passages[index][:80]!r}", file=sys.stderr)
    sys.exit(0 if same >= options.least * positions and not different else 1)


if __name__ == "__main__":
    main()
