from .harmless import fill_skipped as fill_skipped
from .run import scan as scan
from .select import select as select
from .steps import Steps as Steps
