"""A benchmark of the samplers and of the log density, beside what is used elsewhere.

    python -m benchmark [--quick] [--out DIR]

Every row of its tables is measured in a process of its own, so that peak memory, imports and
compilation are that row's alone.
"""
