"""A fixed piece of plain Python: what the gateway's instruction counts are divided by.

    python -S calibration.py TURNS

It makes objects, strings and dictionary entries, calls methods and compares, as the request path
does. Another build of Python changes what it costs and what a request costs alike. Changing it
makes every baseline worthless.
"""

import sys


class Item:
    __slots__ = ("name", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.name = f"item-{number}"

    def weight(self) -> int:
        return len(self.name) + self.number % 7


def work(turns: int) -> int:
    kept: dict[str, Item] = {}
    total = 0
    for number in range(turns):
        item = Item(number)
        kept[item.name] = item
        total += item.weight()
        if total % 3:
            total -= len(b",".join([item.name.encode(), b"x"]))
        if len(kept) >= 64:
            kept.clear()
    return total


if __name__ == "__main__":
    work(int(sys.argv[1]))
