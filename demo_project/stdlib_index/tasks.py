"""The task of the demonstration: index one source file."""

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
