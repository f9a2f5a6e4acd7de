"""The child function `enrich`: keywords by TF-IDF, and the years, lengths and names that a text mentions."""

import re
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

ENTITIES = {
    "year": re.compile(r"\b[Ii]n (1\d{3}|20\d{2})\b"),
    "length": re.compile(r"\b(\d+(?:\.\d+)? (?:kilometres|metres))\b"),
    "name": re.compile(r"\b(?!(?:The|In|At)\b)([A-Z][a-z]+(?: (?:of )?[A-Z][a-z]+)+)"),
}
METRES = {"kilometres": 1000, "metres": 1}


class ApplyNLP:
    """Adds the words that set a paragraph apart from the others of a corpus.

    :param corpus: a file beside this one, whose paragraphs say how common each word is
    """

    def __init__(self, corpus, keywords=3):
        text = (Path(__file__).parent / corpus).read_text(encoding="utf-8")
        self.vectorizer = TfidfVectorizer(stop_words="english", token_pattern="[a-z]{3,}").fit(text.split("\n\n"))
        self.words = self.vectorizer.get_feature_names_out()
        self.keywords = keywords

    def do(self, body):
        scores = self.vectorizer.transform([body["text"]]).toarray()[0]
        best = np.argsort(-scores, kind="stable")[: self.keywords]
        return body | {"keywords": self.words[best].tolist()}


def extract_entities(body):
    """A dict for each entity of the paragraph; the text itself is left behind."""
    found = [
        {"kind": kind, "text": match[1], "at": match.start()}
        for kind, pattern in ENTITIES.items()
        for match in pattern.finditer(body["text"])
    ]
    about = {"paragraph": body["paragraph"], "keywords": body["keywords"]}
    return [about | one for one in sorted(found, key=lambda one: one["at"])]


def enrich_entities(entities):
    """Gives years and lengths a number to compute with."""
    for one in entities:
        if one["kind"] == "year":
            one["value"] = int(one["text"])
        elif one["kind"] == "length":
            number, unit = one["text"].split()
            one["value"] = float(number) * METRES[unit]
    return entities
