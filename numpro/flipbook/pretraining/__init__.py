"""Where the embedded models come from; only notebook A1 and the command need it.

In come made-up scenes and their questions. Out come checkpoints under ``data/flipbook/models``, in
four resumable legs, each with a gate.
"""
