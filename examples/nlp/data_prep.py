"""The first function of the pipeline: reads a text and cuts it into paragraphs."""

from pathlib import Path


def load_text(path):
    """The text of a file beside this one."""
    return (Path(__file__).parent / path).read_text(encoding="utf-8")


def to_paragraphs(text):
    """One dict for each paragraph."""
    paragraphs = [" ".join(part.split()) for part in text.split("\n\n")]
    return [{"paragraph": number, "text": part} for number, part in enumerate(paragraphs, start=1) if part]
