from .explain import explain as explain
from .run import scan as scan
from .select import select as select
from .skipped import fill_skipped as fill_skipped
from .steps import Steps as Steps
