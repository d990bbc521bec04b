"""Actions: what a policy did in one turn, and how its text is read.

Model output is hostile text: reading it returns an action, also if it is garbage. What announces a tool call and
cannot be read as one is kept whole, with the reason; it is neither a call nor a message.
"""

from pivotmine.actions.action import Action, ToolCall, Unparsed, action_from_json, action_to_json
from pivotmine.actions.chat_message import action_from_message
from pivotmine.actions.conventions import CONVENTIONS, NATIVE, implied_tools, is_text, read_message
from pivotmine.actions.detection import detect_parser
from pivotmine.actions.parsing import PARSERS, parse_action, require_parser

__all__ = [
    "CONVENTIONS",
    "NATIVE",
    "PARSERS",
    "Action",
    "ToolCall",
    "Unparsed",
    "action_from_json",
    "action_from_message",
    "action_to_json",
    "detect_parser",
    "implied_tools",
    "is_text",
    "parse_action",
    "read_message",
    "require_parser",
]
