"""The truth about a demo catalogue, as it is written beside the data and read back for measuring.

`truth.json` says everything about single users and items; `truth/*.npy` holds what is long: each community's standing
of every item and every user's choices in order.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.data.demo.attributes import HUES, MATERIALS, MOODS, PATTERNS, USES, ItemAttributes
from training.data.demo.choices import KINDS, MIXTURE, Choices, DemoUsers
from training.data.demo.plan import GENERATOR_VERSION, DemoPlan
from training.errors import DatasetError

FILE_NAME = "truth.json"
FOLDER_NAME = "truth"


@dataclass(frozen=True)
class Truth:
    """A catalogue's plan and everything drawn from it; rows follow `user_ids` and `item_ids`."""

    plan: DemoPlan
    user_ids: list[str]
    item_ids: list[str]
    items: ItemAttributes
    users: DemoUsers
    choices: Choices

    def kind_of_user(self) -> dict[str, str]:
        """Return every user's kind by id: one of `KINDS`, or "mixture"."""
        names = (*KINDS, MIXTURE)
        return {user_id: names[kind] for user_id, kind in zip(self.user_ids, self.users.kind.tolist(), strict=True)}


def draw_summary(plan: DemoPlan) -> dict[str, Any]:
    """Return what identifies a catalogue: the generator's version and its settings."""
    return {"generator_version": GENERATOR_VERSION, "plan": asdict(plan)}


def write_truth(directory: Path, truth: Truth) -> None:
    """Write `truth.json` and `truth/` into an existing directory."""
    items, users = truth.items, truth.users
    content = {
        **draw_summary(truth.plan),
        "users": [
            {
                "user_id": user_id,
                "kind": (*KINDS, MIXTURE)[users.kind[row]],
                "weights": dict(zip(KINDS, users.weights[row].tolist(), strict=True)),
                "hue": HUES[users.taste[row, 0] // len(PATTERNS)],
                "pattern": PATTERNS[users.taste[row, 0] % len(PATTERNS)],
                "use": USES[users.taste[row, 1] // len(MATERIALS)],
                "material": MATERIALS[users.taste[row, 1] % len(MATERIALS)],
                "community": int(users.taste[row, 2]),
            }
            for row, user_id in enumerate(truth.user_ids)
        ],
        "items": [
            {
                "item_id": item_id,
                "hue": HUES[items.hue[row]],
                "pattern": PATTERNS[items.pattern[row]],
                "use": USES[items.use[row]],
                "material": MATERIALS[items.material[row]],
                "mood": MOODS[items.mood[row]],
                "popularity": float(items.popularity[row]),
            }
            for row, item_id in enumerate(truth.item_ids)
        ],
    }
    (directory / FILE_NAME).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8", newline="\n")
    folder = directory / FOLDER_NAME
    folder.mkdir()
    np.save(folder / "standing.npy", items.standing)
    np.save(folder / "choice_offsets.npy", truth.choices.offsets)
    np.save(folder / "choice_items.npy", truth.choices.item_row)
    np.save(folder / "choice_times.npy", truth.choices.timestamp)


def read_truth(directory: Path) -> Truth:
    """Read back what `write_truth` wrote. Raises DatasetError where it is absent, damaged or of another generator."""
    path = directory / FILE_NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["generator_version"] != GENERATOR_VERSION:
            raise DatasetError(
                path, f"expected generator version {GENERATOR_VERSION}, found {content['generator_version']}"
            )
        item_list, user_list = content["items"], content["users"]

        def codes(
            entries: list[dict[str, Any]], key: str, names: tuple[str, ...]
        ) -> np.ndarray[Any, np.dtype[np.int64]]:
            return np.array([names.index(entry[key]) for entry in entries], dtype=np.int64)

        arrays = {
            name: np.load(directory / FOLDER_NAME / f"{name}.npy", allow_pickle=False)
            for name in ("standing", "choice_offsets", "choice_items", "choice_times")
        }
        return Truth(
            plan=DemoPlan(**content["plan"]),
            user_ids=[entry["user_id"] for entry in user_list],
            item_ids=[entry["item_id"] for entry in item_list],
            items=ItemAttributes(
                hue=codes(item_list, "hue", HUES),
                pattern=codes(item_list, "pattern", PATTERNS),
                use=codes(item_list, "use", USES),
                material=codes(item_list, "material", MATERIALS),
                mood=codes(item_list, "mood", MOODS),
                popularity=np.array([entry["popularity"] for entry in item_list]),
                standing=arrays["standing"],
            ),
            users=DemoUsers(
                kind=codes(user_list, "kind", (*KINDS, MIXTURE)),
                weights=np.array([[entry["weights"][kind] for kind in KINDS] for entry in user_list]),
                taste=np.stack(
                    [
                        codes(user_list, "hue", HUES) * len(PATTERNS) + codes(user_list, "pattern", PATTERNS),
                        codes(user_list, "use", USES) * len(MATERIALS) + codes(user_list, "material", MATERIALS),
                        np.array([entry["community"] for entry in user_list], dtype=np.int64),
                    ],
                    axis=1,
                ),
            ),
            choices=Choices(arrays["choice_offsets"], arrays["choice_items"], arrays["choice_times"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(path, f"expected the truth of a demo catalogue: {error!r}") from error
