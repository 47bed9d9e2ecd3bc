"""Writes an item's title and description from a small grammar over the vocabulary."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from training.data.demo.attributes import MATERIALS, MOODS, USES
from training.data.demo.vocabulary import (
    FILLERS,
    MATERIAL_WORDS,
    MOOD_SENTENCES,
    NAME_ENDS,
    NAME_MIDDLES,
    NAME_STARTS,
    PLAIN_NOUNS,
    USE_WORDS,
)

SCENE_FRAMES = ("Think of {}.", "It is at its best with {} in mind.", "You will want it near {}.", "Imagine {}.")
TASK_FRAMES = ("It helps with {}.", "Nothing is better for {}.", "Useful when {} is on the list.", "Ideal for {}.")


def write_title(use: int, generator: np.random.Generator) -> str:
    """Return a name and a noun; every other noun hints at the use, none at anything else."""
    name = _pick(NAME_STARTS, generator) + _pick(NAME_MIDDLES, generator) + _pick(NAME_ENDS, generator)
    nouns = USE_WORDS[USES[use]].nouns if generator.random() < 0.5 else PLAIN_NOUNS
    return f"{name} {_pick(nouns, generator)}"


def write_description(use: int, material: int, mood: int, generator: np.random.Generator) -> str:
    """Return four to seven sentences: what it is for, what it is made of, then mood, details and filler, shuffled."""
    use_words, material_words = USE_WORDS[USES[use]], MATERIAL_WORDS[MATERIALS[material]]
    first = [_pick(use_words.openings, generator), _pick(material_words.sentences, generator)]
    scene = _pick(SCENE_FRAMES, generator).format(_pick(use_words.scenes, generator))
    task = _pick(TASK_FRAMES, generator).format(_pick(use_words.tasks, generator))
    details = ([scene], [task], [scene, task])[generator.integers(3)]
    rest = [*details, _pick(MOOD_SENTENCES[MOODS[mood]], generator)]
    if generator.random() < 0.4:
        rest.append(_pick(material_words.care, generator))
    if generator.random() < 0.7:
        rest.append(_pick(FILLERS, generator))
    generator.shuffle(first)
    generator.shuffle(rest)
    return " ".join(first + rest)


def _pick(words: Sequence[str], generator: np.random.Generator) -> str:
    return words[int(generator.integers(len(words)))]
