"""Runs one story of a file: `python -m tell FILE STORY`. What it returns is printed."""

import asyncio
import importlib.util
import inspect
import sys


def main():
    path, name = sys.argv[1:]
    spec = importlib.util.spec_from_file_location("story", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    story = getattr(module, name)
    print(asyncio.run(story()) if inspect.iscoroutinefunction(story) else story())


main()
