"""The count of a topic's messages, as `tally.mjs` has it: numbers from 1, at positions without a hole
but for what gaps have told. And where the story's cluster is."""

import os
import urllib.request

EDGES = os.environ["EDGES"].split(",")
GRPCS = os.environ["GRPCS"].split(",")


def act(node, what):
    """`kill` or `start` of a node, asked of another one."""
    other = EDGES[0] if node != 1 else EDGES[1]
    request = urllib.request.Request(f"http://{other}/dev/nodes/{node}/{what}", method="POST")
    urllib.request.urlopen(request, timeout=60).read()


class Count:
    def __init__(self):
        self.numbers = []
        self.offsets = []
        self.gaps = []

    def take(self, number, offset):
        self.numbers.append(int(number))
        self.offsets.append(int(offset))

    def gap(self, since, to):
        self.gaps.append((int(since), int(to)))

    def here(self):
        """How many came or were told to be left out."""
        return len(self.numbers) + sum(to - since for since, to in self.gaps)

    def judge(self, count):
        """Raises unless all came once each, in order, but for what gaps left out."""
        told = [at for since, to in self.gaps for at in range(since + 1, to + 1)]
        came = self.offsets + told
        lost = sorted(set(range(1, count + 1)) - set(came))
        doubled = len(came) - len(set(came)) + len(self.numbers) - len(set(self.numbers))
        missing = set() if told else set(range(1, count + 1)) - set(self.numbers)
        assert not lost and not missing and not doubled, (lost[:8], sorted(missing)[:8], doubled)
        assert self.offsets == sorted(self.offsets), "out of order"
        gaps = f", {len(told)} told by a gap" if told else ""
        return f"{len(self.numbers)} messages, 0 lost, 0 doubled{gaps}"
