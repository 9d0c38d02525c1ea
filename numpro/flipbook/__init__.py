"""The embedded world: short seeded films of coloured shapes, and the small models that watch them.

`world` draws the films, `questions` asks about them, `pretrain` makes the models under
``data/flipbook/models``.
"""

COLOURS = ("red", "blue", "green", "yellow", "purple")
SHAPES = ("star", "heart", "circle", "square", "triangle")
MANNERS = ("spins", "moves", "grows", "blinks", "appears")
OBJECTS = tuple((colour, shape) for colour in COLOURS for shape in SHAPES)

SIZE = 336  # pixels a side of every film, the size at which the paper draws its numbers
CELLS = 3  # a frame's tokens form a CELLS x CELLS grid in the tiny LongVA
