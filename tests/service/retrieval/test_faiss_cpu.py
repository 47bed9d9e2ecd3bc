"""FAISS on the CPU is congruent with exact NumPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service.retrieval.faiss_cpu import FaissCpuIndex
from service.retrieval.protocol import CandidateIndex
from tests.contract.candidate_index import CandidateIndexContract


class TestFaissCpu(CandidateIndexContract):
    def build(self, vectors: NDArray[np.floating]) -> CandidateIndex:
        return FaissCpuIndex(vectors)
