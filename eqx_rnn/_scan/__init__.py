from .explain import explain as explain
from .run import scan as scan
from .skipped import fill_skipped as fill_skipped
from .steps import Steps as Steps
