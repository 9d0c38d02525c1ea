"""Read by every Python that tests start: it looks for garbage seldom.

Importing torch and transformers makes half a million objects that stay; looking through them
again and again is a good part of the time of a kernel's or a command's imports.
"""

import gc

gc.set_threshold(100_000, 50, 100)
