"""What several models decide together: the majority of their labels, or the mean of their numbers. Pure."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

VoteType = Literal["classification", "regression"]
# Normalised weights are not exact, so that sums which are equal may differ in their last digits.
TIE = 1e-12


def decide(outputs: list[Any], weights: NDArray[np.float64], vote_type: VoteType | None) -> NDArray[Any]:
    """The mean where `vote_type` says so or, where it says nothing, any model gave a float; else the majority.

    :param outputs: for each model, its outputs: lists or arrays of one shape
    :param weights: of the models; their sum is 1
    :return: an array of that shape
    :raises ValueError: the outputs have different shapes, or can not be averaged or counted

    >>> decide([[10.5], [31.5]], np.ones(2) / 2, None), decide([[1, 2], [1, 3], [4, 3]], np.ones(3) / 3, None)
    (array([21.]), array([1, 3]))
    """
    arrays = [np.asarray(one) for one in outputs]
    if len({array.shape for array in arrays}) > 1:
        shapes = ", ".join(str(list(array.shape)) for array in arrays)
        raise ValueError(f"the models gave outputs of different shapes: {shapes}")
    is_regression = vote_type == "regression"
    if vote_type is None:
        is_regression = any(array.dtype.kind == "f" for array in arrays)
    if not is_regression:
        return majority(outputs, weights)
    if not all(array.dtype.kind in "iufb" for array in arrays):
        raise ValueError("a mean needs numbers, and a model gave something else")
    return np.tensordot(weights, np.stack(arrays).astype(np.float64), axes=1)


def majority(outputs: list[Any], weights: NDArray[np.float64]) -> NDArray[Any]:
    """The weighted majority at each place. Among equals the smallest label wins, as in scikit-learn's
    ``VotingClassifier``; where labels of different types do not sort, the one that was given first.

    :raises ValueError: a label can not be counted, for instance a dict
    """
    arrays = [np.asarray(one) for one in outputs]
    if all(array.dtype.kind in "iub" for array in arrays) and len({array.dtype.kind for array in arrays}) == 1:
        labels, codes = np.unique(np.stack(arrays), return_inverse=True)
    else:
        labels, codes = _coded([_flat(one) for one in outputs])
    codes = codes.reshape(len(arrays), -1)
    places = np.arange(codes.shape[1])
    if not len(places):
        return arrays[0]
    scores = np.zeros((len(places), len(labels)))
    for model, weight in zip(codes, weights, strict=True):
        scores[places, model] += weight
    best = (scores >= scores.max(axis=1, keepdims=True) - TIE).argmax(axis=1)
    decided: NDArray[Any] = labels[best].reshape(arrays[0].shape)
    return decided


def _flat(output: Any) -> list[Any]:
    array = np.asarray(output, dtype=object)
    return [value.item() if isinstance(value, np.generic) else value for value in array.ravel()]


def _coded(columns: list[list[Any]]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The labels, sorted where they sort, and the place of each output among them."""
    try:
        found = list(dict.fromkeys(value for column in columns for value in column))
    except TypeError as error:
        raise ValueError(f"a model gave a label that can not be counted ({error})") from error
    with suppress(TypeError):  # labels of different types stay in the order in which they were given
        found = sorted(found)
    place = {value: index for index, value in enumerate(found)}
    labels = np.empty(len(found), dtype=object)
    labels[:] = found
    return labels, np.asarray([[place[value] for value in column] for column in columns])
