"""What a purge has set out to do, kept on the disk until somebody has recorded that it is done.

A process may be killed after it has removed a thing and before anybody knows. Its successor would no longer find the
thing, and so could not tell what was removed; and it could no longer search for images that are gone from the data.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from qunlearn.deletion.private_files import replace as write
from qunlearn.deletion.purge import Entry
from qunlearn.deletion.purge_errors import PurgeError
from tasks.scratch import FOLDER

FORMAT = 1
NAME = "purge.json"


@dataclass(frozen=True)
class Notes:
    """What is known about the purge that is under way.

    Args:
        file: where they are kept, readable by this user alone.
        because: what the purge is done for.
        entries: all that it has set out to do.
        images: sha256 of the pixels of erased images, which a search needs.
        pixels: bytes of one image; 0 as long as none is known.
        weights: sha256 of weights that had to go.
        finished: everything was done, and the search found nothing.
    """

    file: Path
    because: str
    entries: tuple[Entry, ...] = ()
    images: frozenset[str] = frozenset()
    pixels: int = 0
    weights: frozenset[str] = frozenset()
    finished: bool = False

    @classmethod
    def read(cls, root: Path) -> Notes | None:
        """What is kept; None if nothing is.

        Raises:
            PurgeError: the file is damaged.
        """
        file = root / FOLDER / NAME
        if not file.exists():
            return None
        try:
            content = json.loads(file.read_bytes())
            if content["format"] != FORMAT:
                raise ValueError(content["format"])
            return cls(
                file,
                because=content["because"],
                entries=tuple(Entry.from_dict(entry) for entry in content["entries"]),
                images=frozenset(content["images"]),
                pixels=int(content["pixels"]),
                weights=frozenset(content["weights"]),
                finished=bool(content["finished"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise PurgeError(
                f"{file}: damaged ({type(error).__name__}); remove it and run the purge again, which then does not "
                "know what the interrupted one had removed"
            ) from None

    @classmethod
    def begin(cls, root: Path, *, because: str) -> Notes:
        """Go on with those of an interrupted purge, or of a finished one for the same reason; otherwise empty ones.

        Raises:
            PurgeError: as from `read`.
        """
        found = cls.read(root)
        if found is None or (found.finished and found.because != because):
            return cls(root / FOLDER / NAME, because)
        return replace(found, because=because, finished=False)

    def with_images(self, images: Iterable[str], *, pixels: int) -> Notes:
        """With more images to search for."""
        return replace(self, images=self.images.union(images), pixels=pixels or self.pixels)

    def write(self) -> None:
        """Keep them; on the disk before this returns."""
        content = {
            "format": FORMAT,
            "because": self.because,
            "finished": self.finished,
            "pixels": self.pixels,
            "images": sorted(self.images),
            "weights": sorted(self.weights),
            "entries": [entry.as_dict() for entry in self.entries],
        }
        write(self.file, (json.dumps(content, indent=1) + "\n").encode(), mode=0o600)

    def forget(self) -> None:
        """Remove them."""
        self.file.unlink(missing_ok=True)
