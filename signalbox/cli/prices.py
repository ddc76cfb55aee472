"""The prices of public models, as a start wants them: at once.

`prices.json` is what the package `genai-prices` comes to, written by `tools/write_docs.py`. It is
read where it was made of the very version that is installed: 7 ms, where the package itself takes
0.4 s and 14 MB.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import msgspec

from signalbox.adapters.catalogue_data import PriceData
from signalbox.adapters.catalogue_prices import installed

WRITTEN = Path(__file__).with_name("prices.json")


def price_data() -> PriceData:
    """What the installed package knows, whether or not it was written down before."""
    written = msgspec.json.decode(WRITTEN.read_bytes(), type=PriceData)
    return written if is_installed(written.source) else installed()


def is_installed(source: str) -> bool:
    """Whether the package is there in the version that `source` names.

    By the folder of its metadata, for to import `importlib.metadata` takes longer than all else
    here. Where there is none, as in a zip archive, the answer is no.
    """
    package, _, version = source.partition(" ")
    module = package.replace("-", "_")
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        return False
    return (Path(spec.origin).parents[1] / f"{module}-{version}.dist-info").is_dir()


def render(data: PriceData) -> str:
    """As JSON with a line for each model, so that one can see what a new version changes."""
    vendors = []
    for vendor in data.vendors:
        *fields, _ = msgspec.to_builtins(vendor)
        models = ",\n".join(msgspec.json.encode(model).decode() for model in vendor.models)
        vendors.append(f"{msgspec.json.encode(fields).decode()[:-1]},[\n{models}\n]]")
    source, listed = msgspec.json.encode(data.source).decode(), ",\n".join(vendors)
    return f'{{"source":{source},"vendors":[\n{listed}\n]}}\n'
