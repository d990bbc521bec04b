"""The text of observations as OpenHands shows it to the model (`ConversationMemory` of version 0.48)."""

from __future__ import annotations

from typing import Any

from pivotmine.readers.openai_form import listed, object_at

_UNSEEN = ("null", "agent_state_changed", "success", "loop_detection")
_IMAGE_MARK = "![image](data:image/png;base64,"
_IMAGE_SHOWN = "![image](data:image/png;base64, ...) already displayed to user"


def observed_text(
    event: dict[str, Any], kind: str, extras: dict[str, Any], max_chars: int | None, *, by_user: bool
) -> Any:
    """The text of an observation; None if it is not shown. Content that is not text is returned as it is."""
    content = event.get("content")
    if kind in _UNSEEN:
        return None
    if not isinstance(content, str):
        return content if content is not None else 0
    if kind == "delegate":
        answer = object_at(extras, "outputs").get("content", content)
        return _cut(answer, max_chars) if isinstance(answer, str) else answer
    if kind == "run":
        text = command_output(content, object_at(extras, "metadata"), extras)
        return _cut(f"\nObserved result of command executed by user:\n{text}" if by_user else text, max_chars)
    if kind == "run_ipython":
        lines = (_IMAGE_SHOWN if _IMAGE_MARK in line else line for line in content.split("\n"))
        return _cut("\n".join(lines), max_chars)
    if kind == "error":
        return _cut(content, max_chars) + "\n[Error occurred in processing last action]"
    if kind == "user_rejected":
        return f"OBSERVATION:\n{_cut(content, max_chars)}\n[Last action has been rejected by the user]"
    # The tool has cut files and pages itself.
    return content if kind in ("read", "browse") else _cut(content, max_chars)


def command_output(content: str, metadata: dict[str, Any], extras: dict[str, Any]) -> str:
    """A command's output as the model saw it, with its directory, interpreter and exit code."""
    text = f"{metadata.get('prefix') or ''}{content}{metadata.get('suffix') or ''}"
    if metadata.get("working_dir"):
        text += f"\n[Current working directory: {metadata['working_dir']}]"
    if metadata.get("py_interpreter_path"):
        text += f"\n[Python interpreter: {metadata['py_interpreter_path']}]"
    exit_code = metadata.get("exit_code", extras.get("exit_code", -1))
    return text if exit_code in (-1, None) else f"{text}\n[Command finished with exit code {exit_code}]"


def _cut(text: str, max_chars: int | None) -> str:
    if max_chars is None or len(text) <= max_chars:
        return text
    half = max_chars // 2
    return f"{text[:half]}\n[... Observation truncated due to length ...]\n{text[-half:]}"


def recalled_text(extras: dict[str, Any], *, disabled: list[Any], known: set[str]) -> str | None:
    """The text of a recall: the workspace's context and the microagents not shown before; None if there is neither.

    The names of the microagents are added to `known`. Blank lines differ from those of OpenHands' templates.
    """
    parts = _workspace(extras) if extras.get("recall_type") == "workspace_context" else []
    for agent in listed(extras, "microagent_knowledge"):
        name = str(agent.get("name")) if isinstance(agent, dict) else ""
        if not isinstance(agent, dict) or name in disabled or name in known:
            continue
        known.add(name)
        about = f'The following information has been included based on a keyword match for "{agent.get("trigger")}".'
        about += "\nIt may or may not be relevant to the user's request."
        parts.append(f"<EXTRA_INFO>\n{about}\n\n{agent.get('content')}\n</EXTRA_INFO>")
    return "\n".join(parts) or None


def _workspace(extras: dict[str, Any]) -> list[str]:
    parts: list[str] = []
    if extras.get("repo_name") or extras.get("repo_directory"):
        about = f"At the user's request, repository {extras.get('repo_name') or ''} has been cloned to the current"
        parts.append(_tagged("REPOSITORY_INFO", f"{about} working directory {extras.get('repo_directory') or ''}."))
    if extras.get("repo_instructions"):
        parts.append(_tagged("REPOSITORY_INSTRUCTIONS", str(extras["repo_instructions"])))
    parts.append(_tagged("RUNTIME_INFORMATION", "\n".join(_runtime(extras))))
    if extras.get("conversation_instructions"):
        parts.append(_tagged("CONVERSATION_INSTRUCTIONS", str(extras["conversation_instructions"])))
    return parts


def _tagged(tag: str, text: str) -> str:
    return f"<{tag}>\n{text}\n</{tag}>"


def _runtime(extras: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    if hosts := object_at(extras, "runtime_hosts"):
        lines += ["The user has access to the following hosts for accessing a web application,"]
        lines += ["each of which has a corresponding port:"]
        lines += [f"* {host} (port {port})" for host, port in hosts.items()]
        lines += ["When starting a web server, use the corresponding ports. You should also"]
        lines += ["set any options to allow iframes and CORS requests, and allow the server to"]
        lines += ["be accessed from any host (e.g. 0.0.0.0)."]
        lines += [
            "For example, if you are using vite.config.js, you should set server.host and server.allowedHosts to true"
        ]
    if extras.get("additional_agent_instructions"):
        lines.append(str(extras["additional_agent_instructions"]))
    if secrets := object_at(extras, "custom_secrets_descriptions"):
        described = [f"* $**{name}**: {about}" for name, about in secrets.items()]
        lines += ["<CUSTOM_SECRETS>", "You are have access to the following environment variables", *described]
        lines += ["</CUSTOM_SECRETS>"]
    if extras.get("date"):
        lines.append(f"Today's date is {extras['date']} (UTC).")
    return lines
