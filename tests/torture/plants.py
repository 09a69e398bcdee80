"""The bugs that are planted, each as a passage of the safety code and what stands there instead."""

# ruff: noqa: E501 - passages of code stand as they are

from __future__ import annotations

from typing import NamedTuple


class Plant(NamedTuple):
    """In `shadowsim/commit/FILE`, which has `old` once."""

    what: str
    file: str
    old: str
    new: str


PLANTS = (
    Plant("a record is not synced", "log.py",
          "            self._disk.sync(self._path)\n", ""),
    Plant("the name of a log is not synced", "log.py",
          "        disk.sync(path.parent)\n", ""),
    Plant("a log takes records after a failure", "log.py",
          "        self._broken = True\n", "        self._broken = False\n"),
    Plant("a log takes records after an interruption", "log.py",
          "        self._broken = True\n        try:", "        try:"),
    Plant("a record that could not be written is passed over", "log.py",
          "            raise LogBroken(f\"{self._path}: '{kind}' was not written:"
          " {error.strerror}\") from error\n", "            pass\n"),
    Plant("what follows the last whole line is read as a record", "log.py",
          '.split(b"\\n")\n    except', '.split(b"\\n")\n        whole, rest = [*whole, rest], b""\n    except'),
    Plant("any last line that does not fit is taken for torn", "log.py",
          'and not rest and b"\\0" in line', "and not rest"),
    Plant("a last line with a missing block is taken for altered", "log.py",
          'and not rest and b"\\0" in line', 'and not rest and b"" == line'),
    Plant("an altered record is accepted", "log.py",
          "    if not hmac.compare_digest(f\"{mac} \".encode(), line[: MAC_LENGTH + 1]):\n"
          "        return None\n", ""),
    Plant("the chain of records is not checked", "log.py",
          'head.encode() + b"\\n" + body', "body"),
    Plant("one byte of a line is not looked at", "log.py",
          'f"{mac} ".encode(), line[: MAC_LENGTH + 1]', "mac.encode(), line[:MAC_LENGTH]"),
    Plant("the draft of a seal is not synced", "generations.py",
          "    place.disk.sync(draft)\n", ""),
    Plant("the name of a seal is not synced", "generations.py",
          "    place.disk.sync(place.folder)  # also", "    pass  # also"),
    Plant("the folder is synced before the seal is linked", "generations.py",
          "    with suppress(FileExistsError):\n        place.disk.link(draft, place.seal(generation))\n"
          "    place.disk.sync(place.folder)",
          "    place.disk.sync(place.folder)\n"
          "    with suppress(FileExistsError):\n        place.disk.link(draft, place.seal(generation))\n"
          "    pass"),
    Plant("a seal is made by rename, so that the last one wins", "generations.py",
          "        place.disk.link(draft, place.seal(generation))",
          "        place.disk.rename(draft, place.seal(generation))"),
    Plant("whoever finds a seal takes it for its own", "generations.py",
          "return found, found == mine", "return found, True"),
    Plant("a seal that is followed is not made durable", "generations.py",
          "        place.disk.sync(place.folder)  # who", "        pass  # who"),
    Plant("seals that follow nothing are passed over", "generations.py",
          "    if len(found) < len(seals):\n", "    if False:\n"),
    Plant("the seal of another generation fits", "generations.py",
          'return f"{what} {generation} of', 'return f"{what} of'),
    Plant("the owner does not look whether it was overtaken", "owner.py",
          "        if past:\n            raise _fenced(past)\n", ""),
    Plant("a commit is confirmed although it was taken over", "owner.py",
          "        if not mine:\n            raise _fenced([ending])\n", ""),
    Plant("after a write of unknown outcome the owner goes by its memory", "owner.py",
          "            self._unsure = config.hostname\n", ""),
    Plant("two may claim one commit", "owner.py",
          "        raise not_settled(place.folder) from None\n", "        pass\n"),
    Plant("a commit that could not be opened is left as it is", "owner.py",
          '                end(place, FIRST, CANCELLED, "it could not be opened")', "                pass"),
    Plant("the fence is not checked before a write", "devices.py",
          "        self._check(generation)\n        self._put([config], generation)\n",
          "        self._put([config], generation)\n"),
    Plant("the fence is not checked after a write", "devices.py",
          "        self._put([config], generation)\n        self._check(generation)\n",
          "        self._put([config], generation)\n"),
    Plant("the fence is not checked at all", "devices.py",
          "        if any(int(", "        if False and any(int("),
    Plant("configs are not carried over when fenced", "devices.py",
          "        if late:\n", "        if False:\n"),
    Plant("the fence is put up after the configs are carried over", "devices.py",
          '''        mark = self._folder / f"@fence.{generation}"
        if mark.name not in self._disk.names(self._folder):
            self._disk.create(mark, b"")
        self._disk.sync(self._folder)
        late = {name: n for name, n in self._generations().items() if n < generation}
        if late:
            self._put([self._config(name, n) for name, n in late.items()], generation)
''',
          '''        late = {name: n for name, n in self._generations().items() if n < generation}
        if late:
            self._put([self._config(name, n) for name, n in late.items()], generation)
        mark = self._folder / f"@fence.{generation}"
        if mark.name not in self._disk.names(self._folder):
            self._disk.create(mark, b"")
        self._disk.sync(self._folder)
'''),
    Plant("of a device the lowest generation is read", "devices.py",
          "max(int(number), found.get(device, 0))", "min(int(number), found.get(device, 99))"),
    Plant("the generation of a write is ignored", "devices.py",
          "self._path(config.hostname, generation)", "self._path(config.hostname, 1)"),
    Plant("a device's config is not synced", "devices.py",
          "        self._disk.sync(*drafts)\n", ""),
    Plant("of several configs the first one is synced", "devices.py",
          "        self._disk.sync(*drafts)\n", "        self._disk.sync(min(drafts))\n"),
    Plant("a config gets its name before it is synced", "devices.py",
          """        self._disk.sync(*drafts)
        for draft, path in drafts.items():
            self._disk.rename(draft, path)
""", """        for draft, path in drafts.items():
            self._disk.rename(draft, path)
        self._disk.sync(*drafts.values())
"""),
    Plant("the name of a device's config is not synced", "devices.py",
          "            self._disk.rename(draft, path)\n        self._disk.sync(self._folder)\n",
          "            self._disk.rename(draft, path)\n"),
    Plant("verification is always content", "devices.py",
          "if name not in found or found[name].digest != config.digest", "if name not in found and not found"),
    Plant("who takes over does not put up a fence", "settle.py",
          "    devices.fence(generation)\n", ""),
    Plant("the devices are fenced in the generation before", "settle.py",
          "    devices.fence(generation)\n", "    devices.fence(generation - 1)\n"),
    Plant("what is to do follows from the change, not from what the devices have", "settle.py",
          "    while True:\n        now = devices.read()\n",
          "    while True:\n        now = apply(terms.before, terms.change.commands)\n"),
    Plant("what the steps leave is not looked for", "settle.py",
          "        for device, rest in groupby(left(terms, devices.read()), key=lambda c: c.device):\n",
          "        for device, rest in ():\n"),
    Plant("a device that does not answer counts as taken back", "settle.py",
          '            raise NotRestored(f"{device} does not answer: {what} was not taken back")',
          "            return"),
    Plant("an unanswered write counts as done", "settle.py",
          "            except Unreachable:\n                pass\n", "            except Unreachable:\n                return\n"),
    Plant("nothing is verified", "settle.py",
          "    if failed:\n        raise NotRestored", "    if False:\n        raise NotRestored"),
    Plant("silent devices are not missed", "settle.py",
          "return silent + devices.verify", "return devices.verify"),
    Plant("one that has ended is settled again", "settle.py",
          "    if now.settled or now.terms is None:\n", "    if now.terms is None:\n"),
    Plant("what was confirmed is taken over", "settle.py",
          "over = bool(past) and past[-1].state != TAKEN_OVER", "over = bool(past) and past[-1].state == ROLLED_BACK"),
    Plant("who loses the race for a generation goes on", "settle.py",
          "    if not mine and ending.state == TAKEN_OVER:\n", "    if False:\n"),
    Plant("what was confirmed at the last moment is taken over", "settle.py",
          "    if not _end(place, now.generation, TAKEN_OVER, why):\n        return standing(place, reach)\n",
          "    _end(place, now.generation, TAKEN_OVER, why)\n"),
    Plant("rolled back is said before it is done", "settle.py",
          "    _restore(now.terms, devices, generation, log, wait)\n    _end(place, generation, ROLLED_BACK, why)\n",
          "    _end(place, generation, ROLLED_BACK, why)\n    _restore(now.terms, devices, generation, log, wait)\n"),
    Plant("the terms that are followed are not made durable", "settle.py",
          "        place.disk.sync(place.log(FIRST))  # who", "        pass  # who"),
    Plant("terms that are gone mean that nothing was begun", "settle.py",
          "        if last.state not in (CANCELLED, NOTHING):\n", "        if False:\n"),
    Plant("the first step is left out", "settle.py",
          "in terms.signature.ordered():\n        _bring", "in terms.signature.ordered()[1:]:\n        _bring"),
    Plant("the steps are gone through backwards", "settle.py",
          "in terms.signature.ordered():\n        _bring", "in terms.signature.ordered()[::-1]:\n        _bring"),
    Plant("only a part of the change is taken back", "terms.py",
          "self.change, commands, under_way", "self.change, commands[1:], under_way"),
    Plant("what is set only in passing stays", "terms.py", "under_way=commands)", "under_way=())"),
    Plant("the configs of before are not kept for the last device", "terms.py",
          "for name, config in self.before.items()},\n", "for name, config in [*self.before.items()][:-1]},\n"),
    Plant("the seal of the armed rollback is not checked", "terms.py",
          "    if not sealed:\n", "    if False:\n"),
    Plant("the deadline is ignored", "guardian.py",
          "return None if now.until_s is None else max(now.until_s - at_s, 0.0)", "return None"),
    Plant("the end of the run is ignored", "guardian.py",
          "    if not data:\n        return Watching(now.until_s, LOST)\n", "    if not data:\n        return now\n"),
    Plant("only the first deadline counts", "guardian.py",
          "            until_s = float(number)\n", "            until_s = now.until_s or float(number)\n"),
    Plant("nonsense is passed over", "guardian.py",
          '        if word != b"until" or', "        if False and"),
    Plant("a message in two pieces is two messages", "guardian.py",
          '(now.rest + data).split(b"\\n")', 'data.split(b"\\n")'),
    Plant("the guardian says that it is armed before it has read what it needs", "guardian.py",
          "            found = standing(place, reach)  # all that is needed",
          '            os.write(1, b"armed\\n")\n            found = standing(place, reach)  #'),
    Plant("the guardian gives up at the first failure", "guardian.py",
          "            if not patient():\n                return f\"not", "            if True:\n                return f\"not"),
    Plant("the guardian leaves it for good to whoever has taken over", "guardian.py",
          "            if not all(patient() for _ in range(GIVES_WAY)):\n                return \"somebody", "            if True:\n                return \"somebody"),
    Plant("the disk syncs nothing", "disk.py", "        os.fsync(fd)\n", "        pass\n"),
    Plant("of several files the disk syncs one", "disk.py",
          "threads.map(_sync, paths)", "threads.map(_sync, paths[:1])"),
    Plant("the disk makes seals by rename", "disk.py", "        os.link(source, target)\n", "        source.rename(target)\n"),
    Plant("the disk writes a part and is content", "disk.py",
          "        left = left[os.write(fd, left) :]", "        left = left[max(os.write(fd, left), len(left)) :]"),
    Plant("the names of new folders are not synced", "disk.py",
          "        self.sync(*(path.parent for path in fresh or [folder]))\n", ""),
)  # fmt: skip
