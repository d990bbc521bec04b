"""Actions: what a policy did in one turn, parsed from its output.

Model output is hostile: parsing never fails, even on garbage. Text that looks like a tool call but cannot be parsed is
kept whole, with the reason. It counts neither as a call nor as a message.
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
