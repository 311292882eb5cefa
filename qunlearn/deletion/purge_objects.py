"""Which of DVC's objects must go: those that hold erased samples, and the other files of the same versions of the data.

An object's name is the md5 of its content, so what was found in one place holds for all. Labels and superclasses have a
row a sample and no ids: they go because the version they belong to goes. An object stays where something else needs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

SHAPES = (frozenset({"images.npy", "labels.npy", "ids.txt", "meta.json"}), frozenset({"split.csv", "manifest.json"}))
"""Files by which a version is known as one of `data/prepared` or of `data/splits`."""
LISTS = ("ids.txt", "split.csv")
"""Files that name the samples of a version."""


@dataclass(frozen=True)
class Version:
    """A version of a folder: the object that lists its files, and path -> object of each."""

    oid: str
    members: Mapping[str, str]

    @property
    def is_ours(self) -> bool:
        """Whether it is an image set or a split; any other folder is one that a person tracks."""
        return any(shape <= self.members.keys() for shape in SHAPES)

    @property
    def oids(self) -> frozenset[str]:
        """Its own object and those of its files."""
        return frozenset(self.members.values()) | {self.oid}


@dataclass(frozen=True)
class Depot:
    """One place of objects: the cache, or a remote.

    Args:
        name: of the place, in words.
        oids: all objects there.
        versions: all known versions of folders, whether or not they are there.
        found: object, or entry of the run-cache -> what a search of its content found.
        searched: objects whose content was searched, here or elsewhere.
        needed: objects that the present data need, if they hold no erased sample, and all else that is tracked now.
        run_cache: entry of the run-cache -> the objects that it would bring back.
    """

    name: str
    oids: frozenset[str] = frozenset()
    versions: tuple[Version, ...] = ()
    found: Mapping[str, str] = field(default_factory=dict)
    searched: frozenset[str] = frozenset()
    needed: frozenset[str] = frozenset()
    run_cache: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @cached_property
    def gone(self) -> dict[str, str]:
        """Object or entry of the run-cache -> why it must be removed."""
        versions = {one.oid: why for one in self.versions if one.is_ours and (why := self._why(one))}
        reasons = {oid: f"holds {self.found[oid]}" for oid in self.oids & self.found.keys()}
        for version in self.versions:
            if version.oid in versions:
                reasons = dict.fromkeys(version.oids & self.oids, versions[version.oid]) | reasons
        objects = {oid: why for oid, why in reasons.items() if oid not in self._kept}
        entries = {
            name: "would bring back a version of the data that holds erased samples"
            if outs & versions.keys()
            else f"holds {self.found[name]}"
            for name, outs in self.run_cache.items()
            if name in self.found or outs & versions.keys()
        }
        return entries | objects

    @cached_property
    def others(self) -> dict[str, str]:
        """Objects that hold erased samples and that something else needs -> what they hold."""
        return {oid: self.found[oid] for oid in sorted(self.oids & self.found.keys() & self._kept)}

    @cached_property
    def _kept(self) -> frozenset[str]:
        """Objects that a version without erased samples, a folder of somebody else or what is tracked now needs."""
        used = (one.oids for one in self.versions if not one.is_ours or not self._why(one))
        return self.needed.union(*used)

    def _why(self, version: Version) -> str:
        """Why a version of our data must go; empty where it may stay."""
        for path, oid in sorted(version.members.items()):
            if oid in self.found:
                return f"belongs to a version of the data whose {path} holds {self.found[oid]}"
        lists = [version.members[path] for path in LISTS if path in version.members]
        if not self.searched.issuperset(lists):
            return "belongs to a version of the data whose list of samples is gone"
        return ""
