"""The steps of a chunk, as a `ChunkCell` sees them: the parts of its carry, and their verbs."""

from .running import Method as Method
from .states import Advanced as Advanced
from .states import State as State
from .time import Time as Time
