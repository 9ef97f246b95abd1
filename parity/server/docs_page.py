"""The page at /docs: Swagger UI, whose script may do what the server's user may, so it is one that was looked at.

FastAPI's own page loads whatever a CDN has for version 5 today. This one names a version and the hashes of two files
(`npm pack swagger-ui-dist@VERSION`, then `openssl dgst -sha384 -binary FILE | base64`): a browser runs nothing else.
Without the internet the page stays empty; /openapi.json has all of it.
"""

from __future__ import annotations

import base64
import hashlib

_FILES = "https://cdn.jsdelivr.net/npm/swagger-ui-dist@5.35.0/swagger-ui"
SCRIPT = f"{_FILES}-bundle.js"
SCRIPT_HASH = "sha384-gjRm0bEPMeTmMh5jT2cHccIwCUZSTd8YC+j0d0sXw0MdGEfScduGpSyF3ZSSLkX9"
STYLE = f"{_FILES}.css"
STYLE_HASH = "sha384-WlYgdmXYOOBWL5apwjDEZwN+U3HmXSSu5R6V5aGxEcf7z+KuRNwBhoxKVN1i3D5I"

_START = 'SwaggerUIBundle({url: "openapi.json", dom_id: "#docs", presets: [SwaggerUIBundle.presets.apis]})'
HTML = f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>wan-parity</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{STYLE}" integrity="{STYLE_HASH}" crossorigin="anonymous">
<div id="docs"><a href="openapi.json">openapi.json</a></div>
<script src="{SCRIPT}" integrity="{SCRIPT_HASH}" crossorigin="anonymous"></script>
<script>{_START}</script>
</html>
"""
_INLINE = base64.b64encode(hashlib.sha256(_START.encode()).digest()).decode()
HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; script-src 'sha256-{_INLINE}' {SCRIPT}; style-src {STYLE} "
    "'unsafe-inline'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
}
"""The script sets styles of its own, which are let through; requests go to this server alone."""
