"""Keeps one comment about the cases on a pull request: written the first time, updated later.

    python comment.py FILE     post FILE's Markdown; $NAME tells several gates of one repository apart

It reads what GitHub sets in every step (GITHUB_API_URL, GITHUB_REPOSITORY, GITHUB_EVENT_PATH, …), GITHUB_TOKEN, and
ARTIFACT_URL. Where the token may not write (pull requests from forks) it says so; the same text is in the job summary.
It never fails the job: the exit code is 0 unless it is called wrongly.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LIMIT = 65_536
"""The most characters of a comment."""
PAGES = 30
"""Pages of 100 comments that are searched."""
TIMEOUT_S = 30
BOT = "github-actions[bot]"
"""Who writes with the token that every job is given; that token may not ask who it is."""


@dataclass(frozen=True, kw_only=True)
class Api:
    """GitHub's REST API, for one repository."""

    root: str
    token: str

    def __call__(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Ask. Returns the answer's JSON; raises urllib.error.HTTPError, URLError or TimeoutError."""
        request = urllib.request.Request(
            f"{self.root}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Accept": "application/vnd.github+json",
                "Authorization": f"Bearer {self.token}",
                "Content-Type": "application/json",
                "X-GitHub-Api-Version": "2022-11-28",
            },
        )
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            return json.load(answer)

    def me(self) -> str:
        """The login of whom the token belongs to."""
        try:
            return str(self("GET", "/user")["login"])
        except urllib.error.HTTPError as error:
            if error.code in (401, 403, 404):
                return BOT
            raise

    def comments(self, issue: str) -> Iterator[Any]:
        """All comments of a pull request, a page at a time."""
        for page in range(1, PAGES + 1):
            found = self("GET", f"{issue}/comments?per_page=100&page={page}")
            yield from found
            if len(found) < 100:
                return


def main(arguments: list[str]) -> int:
    """Post the file. Returns the exit code."""
    if len(arguments) != 1:
        print("comment.py: pass the file with the comment's text", file=sys.stderr)
        return 2
    event = json.loads(Path(os.environ["GITHUB_EVENT_PATH"]).read_text(encoding="utf-8"))
    number = event.get("pull_request", {}).get("number")
    if number is None:
        print("no comment: this job does not run for a pull request")
        return 0
    name = os.environ.get("NAME", "").strip() or "parity"
    marker = f"<!-- wan-parity: {name.replace('--', '-')} -->"
    text = body(marker, Path(arguments[0]).read_text(encoding="utf-8"), os.environ)
    try:
        print(
            post(Api(root=os.environ["GITHUB_API_URL"], token=os.environ.get("GITHUB_TOKEN", "")), number, marker, text)
        )
    except urllib.error.HTTPError as error:
        if error.code in (401, 403, 404):
            say(
                "notice",
                f"no comment on the pull request (HTTP {error.code}): this job's token may not write it, as for pull "
                "requests from forks; otherwise give the job `permissions: pull-requests: write`. The job summary has "
                "the same text.",
            )
        else:
            say("warning", f"no comment on the pull request: GitHub answered {error.code} {error.reason}")
    except (OSError, ValueError) as error:
        say("warning", f"no comment on the pull request: {error}")
    return 0


def body(marker: str, text: str, variables: Mapping[str, str]) -> str:
    """The comment: the marker by which it is found again, the text, links to the artifact and the run."""
    links = []
    if variables.get("ARTIFACT_URL"):
        links.append(f"[Report, results and frames]({variables['ARTIFACT_URL']}) (unpack, open report.html)")
    server, repository, run = (variables.get(f"GITHUB_{name}", "") for name in ("SERVER_URL", "REPOSITORY", "RUN_ID"))
    if server and repository and run:
        links.append(f"[run]({server}/{repository}/actions/runs/{run})")
    commit = variables.get("COMMIT", "")[:12]
    foot = " · ".join([*links, *([f"commit {commit}"] if commit else [])])
    room = LIMIT - len(marker) - len(foot) - 100
    shown = text if len(text) <= room else f"{text[:room]}\n\n… cut; all of it is in the job summary.\n"
    return f"{marker}\n{shown}\n{foot}\n"


def post(api: Api, number: int, marker: str, text: str) -> str:
    """Update our comment with this marker, or write it. Returns what was done."""
    repository = f"/repos/{os.environ['GITHUB_REPOSITORY']}"
    issue = f"{repository}/issues/{number}"
    author = api.me()
    ours = (one for one in api.comments(issue) if one["user"]["login"] == author and one["body"].startswith(marker))
    found = next(ours, None)
    if found is None:
        return f"comment written: {api('POST', f'{issue}/comments', {'body': text})['html_url']}"
    address = f"{repository}/issues/comments/{found['id']}"
    return f"comment updated: {api('PATCH', address, {'body': text})['html_url']}"


def say(level: str, text: str) -> None:
    """Print a message that GitHub shows on the job."""
    data = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    print(f"::{level} title=wan-parity::{data}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
