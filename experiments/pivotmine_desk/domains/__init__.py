"""The desk's domains. A new one is a module with TOOLS, make and script, and a line here."""

from __future__ import annotations

from types import ModuleType

from pivotmine_desk.domains import files, orders, search, travel

DOMAINS: dict[str, ModuleType] = {"orders": orders, "travel": travel, "files": files, "search": search}
