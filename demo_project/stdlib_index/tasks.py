"""The tasks of the demonstration: index one source file, and sum up what was found in all of them."""

from dataclasses import asdict

from djqueue import shared_task

from .analysis import analyse
from .models import SourceFile


@shared_task
def index_file(path: str) -> dict[str, object]:
    """Store what is in the file. Running it again only stores it again, so it may run more than once."""
    analysis = analyse(path)
    SourceFile.objects.update_or_create(path=path, defaults=asdict(analysis))
    return {"parsed": analysis.parsed, "lines": analysis.lines, "functions": analysis.functions}


@shared_task
def summarise(found: list[dict[str, int]]) -> dict[str, int]:
    """Add up what ``index_file`` returned for each file."""
    return {"files": len(found), **{name: sum(one[name] for one in found) for name in ("parsed", "lines", "functions")}}
