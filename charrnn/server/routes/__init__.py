"""The handlers, a module for each kind of request; `app.py` has the table of their paths.

Each reads a JSON object, has its fields checked, and lets the engine or a worker thread do what a
command of the same name does. Work that may take long is given a `Watch`, by which it ends soon
after its client is gone.
"""
