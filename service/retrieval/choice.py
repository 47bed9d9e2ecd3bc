"""Which index serves a snapshot: what the setting asks for, as far as the machine has it."""

from __future__ import annotations

import logging
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from model_store.scoring import Scorer
from model_store.snapshot import CANDIDATE_INDEX_FILE, Snapshot
from service.retrieval.faiss_cpu import FaissCpuIndex
from service.retrieval.faiss_gpu import FaissGpuIndex, no_device
from service.retrieval.faiss_ivf import FaissIvfIndex
from service.retrieval.protocol import CandidateIndex

log = logging.getLogger("magnet.retrieval")
IndexChoice = Literal["auto", "cpu", "gpu"]


def index_for(snapshot: Snapshot, scorer: Scorer, choice: IndexChoice) -> CandidateIndex | None:
    """The snapshot's own index where it brings one and no device is wanted; None for kinds without vectors."""
    prebuilt = snapshot.file(CANDIDATE_INDEX_FILE)
    if prebuilt is not None and (choice == "cpu" or (choice == "auto" and no_device() is not None)):
        return FaissIvfIndex(prebuilt, scorer.retrieval_vectors, snapshot.n_items)
    vectors = scorer.retrieval_vectors()
    return build_index(vectors, choice) if vectors.shape[1] else None


def build_index(vectors: NDArray[np.floating], choice: IndexChoice) -> CandidateIndex:
    """The index over `vectors` (I, D). `gpu` without a usable device gives the CPU's, with a warning."""
    absent = no_device() if choice != "cpu" else None
    if choice == "cpu" or (choice == "auto" and absent is not None):
        return FaissCpuIndex(vectors)
    if absent is None:
        try:
            return FaissGpuIndex(vectors)
        except RuntimeError as error:  # out of the device's memory, or a driver that does not fit
            absent = str(error)
    log.warning("candidates come from the CPU: %s", absent)
    index = FaissCpuIndex(vectors)
    index.warning = f"candidates come from the CPU: {absent}"
    return index
