"""The steps of a chunk, as a `ChunkCell` sees them: the parts of its carry, and their verbs."""

from .states import Advanced as Advanced
from .states import State as State
from .time import Method as Method
from .time import Time as Time
