"""HTML."""

from __future__ import annotations

import base64
import hashlib
import html
from pathlib import Path

from ...core.errors import Unavailable
from ...core.picture import Picture
from .. import typeset
from ..figure import checked, made, metadata
from ..place import put
from . import Saver

STATIC = Path(__file__).resolve().parents[2] / "static"
SHEET = """
html { background: #fbfaf8; }
body { max-width: 1000px; margin: 0 auto; padding: 24px 20px 40px; font: 13px/1.45 Inter, system-ui, sans-serif; }
@media (prefers-color-scheme: dark) { html { background: #131417; color: #e8e6e1; } }
@media print { html { background: #ffffff; } }
"""


class Html(Saver):
    """One self-contained file: the picture still answers to the pointer; it needs no network and sends nothing."""

    def save(self, picture: Picture, path: Path) -> None:
        """Write the page.

        *Raises* Unavailable when the part of the page that draws pictures has not been built.
        """
        put(path, page(picture).encode("utf-8", "replace"))


def page(picture: Picture) -> str:
    """The whole file as text; its policy allows exactly the script and the styles inside it.

    The script draws the picture with its words after the element that holds its bytes (``Picture.to_bytes`` in base64);
    a reader without scripts finds the words alone.
    """
    script, sheet = _script(), SHEET + _font()
    data = base64.b64encode(picture.to_bytes()).decode("ascii")
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(sheet)}; "
        "img-src data: blob:; font-src data:; base-uri 'none'; form-action 'none'"
    )
    told = metadata(picture)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="diorama">
<meta name="description" content="{_text(told["Description"])}">
<title>{_text(picture.title)}</title>
<style>{sheet}</style>
</head>
<body>
<noscript>
{_words(picture)}
</noscript>
<script type="application/x-diorama" data-picture>{data}</script>
<script>{script}</script>
</body>
</html>
"""


def _script() -> str:
    file = STATIC / "standalone.js"
    if not file.exists():
        raise Unavailable(
            "no .html can be made, for the page is not built (static/standalone.js is missing); "
            "run 'make page' in the checkout, install diorama from a wheel, or save a .svg"
        )
    # Inside an inline script the two spellings mean the same to JavaScript, but not to the HTML parser.
    return file.read_text("utf-8").replace("</script", r"<\/script").replace("<!--", r"<\!--").replace("\r\n", "\n")


def _font() -> str:
    """The page's own font as a style rule, where the build has it."""
    found = sorted((STATIC / "assets").glob("inter-latin-wght-normal*.woff2"))
    if not found:
        return ""
    data = base64.b64encode(found[0].read_bytes()).decode("ascii")
    return (
        '@font-face { font-family: "Inter Variable"; font-weight: 100 900; '
        f'src: url("data:font/woff2;base64,{data}") format("woff2"); }}\n'
    )


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def _text(text: str) -> str:
    return html.escape(typeset.visible(text), quote=True)


def _words(picture: Picture) -> str:
    step = f", step {picture.step:,}" if picture.step is not None else ""
    parts = [f"<h1>{_text(picture.title)}{step}</h1>"]
    parts += [f"<p>{_text(words)}</p>" for words in (picture.caption, picture.note) if words]
    parts += [f"<p>{_text(checked(check))}</p>" for check in picture.checks]
    if picture.provenance is not None:
        parts.append(f"<p>{_text(made(picture))}</p>")
    parts.append("<p>The picture itself is drawn by the script in this file.</p>")
    return "\n".join(parts)
