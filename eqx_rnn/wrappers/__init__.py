from .stacked_cell import StackedCell as StackedCell
