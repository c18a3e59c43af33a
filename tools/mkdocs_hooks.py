"""What mkdocs calls while it builds the site: pages that stand at the top of the repository are taken in.

docs/contributing.md, docs/security.md and docs/changelog.md hold one line that names such a file. Its links
lead from the top of the repository: those to docs/ become links within the site, the others lead to the
repository's own pages.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

__all__ = ["on_page_markdown"]

ROOT = Path(__file__).parent.parent
_INCLUDE = re.compile(r"^<!-- include: ([\w.-]+) -->$", re.MULTILINE)
_LINK = re.compile(r"(\]\()(?!https?://|#)([^)#\s]+)(#[^)]*)?\)")
_ON_SITE = {f"{name.upper()}.md": f"{name}.md" for name in ("contributing", "security", "changelog")}


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """The page's text, or that of the file it includes; links lead to pages of the site or the repository."""
    included = _INCLUDE.search(markdown)
    text = markdown
    base = posixpath.join("docs", posixpath.dirname(page.file.src_uri))
    if included is not None:
        text, base = (ROOT / included[1]).read_text(encoding="utf-8"), "."
    here = posixpath.dirname(page.file.src_uri)

    def rewritten(link: re.Match[str]) -> str:
        target, anchor = posixpath.normpath(posixpath.join(base, link[2])), link[3] or ""
        if target in _ON_SITE:
            target = f"docs/{_ON_SITE[target]}"
        if target.startswith("docs/"):
            return f"{link[1]}{posixpath.relpath(target.removeprefix('docs/'), here or '.')}{anchor})"
        return f"{link[1]}{config.repo_url.rstrip('/')}/blob/main/{target}{anchor})"

    return _LINK.sub(rewritten, text)
