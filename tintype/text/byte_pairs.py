"""Byte-pair encoding in CLIP's form: the alphabet, and learning merges from captions.

CLIP (Radford et al. 2021) inherits the byte-level alphabet of GPT-2: each of the 256 bytes has one printable
character, so that any text can be written with 256 symbols. The last symbol of a word carries ``</w>``, which
makes 512 symbols; each merge (Sennrich et al. 2016, arXiv 1508.07909) adds one more.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from itertools import pairwise

END_OF_WORD = "</w>"

Pair = tuple[str, str]


def byte_alphabet() -> dict[int, str]:
    """Byte -> printable character, in the order of CLIP's vocabulary ("!" is first).

    Printable bytes stand for themselves; the others take the characters from U+0100 on.
    """
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}


def symbols(word: str) -> tuple[str, ...]:
    """The symbols of one word that is written in the byte alphabet, before any merge."""
    return (*word[:-1], word[-1] + END_OF_WORD)


def learn_merges(words: Mapping[str, int], num_merges: int) -> list[Pair]:
    """At most ``num_merges`` merges, the most frequent pair first.

    ``words`` maps words, written in the byte alphabet, to how often they occur. Equal counts are settled by the
    alphabet, so that the result depends on nothing but ``words``. Pairs that occur only once are not merged.
    """
    spelled = {word: symbols(word) for word in words}
    counts: Counter[Pair] = Counter()
    found_in: defaultdict[Pair, set[str]] = defaultdict(set)
    for word, parts in spelled.items():
        for pair in pairwise(parts):
            counts[pair] += words[word]
            found_in[pair].add(word)

    merges: list[Pair] = []
    while counts and len(merges) < num_merges:
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        if counts[best] < 2:
            break
        merges.append(best)
        # Only the words that hold this pair change, and with them the counts of their other pairs.
        for word in found_in.pop(best):
            old, new = spelled[word], _merge(spelled[word], best)
            for pair in pairwise(old):
                counts[pair] -= words[word]
                if not counts[pair]:
                    del counts[pair]
            for pair in pairwise(new):
                counts[pair] += words[word]
                found_in[pair].add(word)
            spelled[word] = new
    return merges


def _merge(parts: tuple[str, ...], pair: Pair) -> tuple[str, ...]:
    merged: list[str] = []
    i = 0
    while i < len(parts):
        if parts[i : i + 2] == pair:
            merged.append(parts[i] + parts[i + 1])
            i += 2
        else:
            merged.append(parts[i])
            i += 1
    return tuple(merged)
