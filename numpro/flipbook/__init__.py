"""The embedded world: short seeded films of coloured shapes, and made-up pictures of them.

In comes a split of films, or a seed. Out come films with their annotations (`world`, `films`, and
the data set ``flipbook`` in `dataset`), and pictures with captions (`scenes`, `pictures`).
"""

COLOURS = ("red", "blue", "green", "yellow", "purple")
SHAPES = ("star", "heart", "circle", "square", "triangle")
MANNERS = ("spins", "moves", "grows", "blinks", "appears", "glows")
STILL = ("appears", "glows")  # a still picture can show these
OBJECTS = tuple((colour, shape) for colour in COLOURS for shape in SHAPES)

SIZE = 336  # pixels a side of every film, the size at which the paper draws its numbers
CELLS = 3  # a frame's tokens form a CELLS x CELLS grid in the tiny LongVA

__all__ = ["CELLS", "COLOURS", "MANNERS", "OBJECTS", "SHAPES", "SIZE"]
