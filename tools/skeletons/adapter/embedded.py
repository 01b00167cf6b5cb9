"""Be a small real __SYSTEM__, for a site that has none: it answers as the client does."""

from __future__ import annotations

__all__ = ["Embedded"]


class Embedded:
    """Hold patients in memory, each as the JSON that the system would send."""

    def __init__(self) -> None:
        self._answers: dict[str, bytes] = {}

    def put(self, patient_id: str, answer: bytes) -> None:
        """Keep the answer for this patient, in place of an earlier one."""
        self._answers[patient_id] = answer

    async def fetch(self, patient_id: str) -> bytes | None:
        """Return the patient's JSON, ``None`` when there is no such patient."""
        return self._answers.get(patient_id)

    async def aclose(self) -> None:
        """Forget everything."""
        self._answers.clear()
