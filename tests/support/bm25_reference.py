"""Scores by `bm25s`, and RM3 worked out from its published steps, for the tests to compare with.

Reads one JSON object from standard input:
  documents        lists of terms
  queries          lists of terms, with their repetitions
  k1, b
  rm3              documents, terms, original_weight
Writes {"scores": per query {document: score over 0}, "widened": per query [[term, weight]],
"widened_scores": as scores}.
"""

import json
import re
import sys
from collections import Counter

import bm25s


def main():
    asked = json.load(sys.stdin)
    documents, queries, rm3 = asked["documents"], asked["queries"], asked["rm3"]
    retriever = bm25s.BM25(method="lucene", k1=asked["k1"], b=asked["b"])
    retriever.index(documents, show_progress=False)
    known = set(retriever.vocab_dict)

    def term_scores(term):
        return retriever.get_scores([term]).tolist() if term in known else [0.0] * len(documents)

    def weighted(weights):
        total = [0.0] * len(documents)
        for term, weight in weights:
            total = [sum_ + weight * score for sum_, score in zip(total, term_scores(term))]
        return total

    frequency = Counter(term for document in documents for term in set(document))
    scores, widened, widened_scores = [], [], []
    for query in queries:
        own = weighted([(term, 1.0) for term in dict.fromkeys(query)])
        scores.append(own)
        weights = widen(query, own, documents, frequency, rm3)
        widened.append(weights)
        widened_scores.append(weighted(weights))

    def held(rows):
        return {str(at): score for at, score in enumerate(rows) if score > 0.0}

    json.dump({"scores": [held(row) for row in scores], "widened": widened, "widened_scores": [held(row) for row in widened_scores]}, sys.stdout)


def widen(query, scores, documents, frequency, rm3):
    """RM3 as Anserini has it: P(w|R) from the pruned, normalized vectors of the first answers, times their scores."""
    order = sorted((at for at, score in enumerate(scores) if score > 0.0), key=lambda at: (-scores[at], at))
    model = Counter()
    for at in order[: rm3["documents"]]:
        vector = Counter(
            term
            for term in documents[at]
            if re.fullmatch("[a-z0-9]{2,20}", term) and frequency[term] / len(documents) <= 0.1
        )
        pruned = greatest(vector, rm3["terms"])
        norm = sum(pruned.values())
        for term, count in pruned.items():
            model[term] += count / norm * scores[at]
    model = greatest(model, rm3["terms"])
    norm = sum(model.values())
    own = Counter(query)
    share = rm3["original_weight"] if model else 1.0
    mixed = {term: share * count / len(query) for term, count in own.items()}
    for term, weight in model.items():
        mixed[term] = mixed.get(term, 0.0) + (1.0 - share) * weight / norm
    return sorted(mixed.items(), key=lambda row: (-row[1], row[0]))


def greatest(weights, count):
    return dict(sorted(weights.items(), key=lambda row: (-row[1], row[0]))[:count])


if __name__ == "__main__":
    main()
