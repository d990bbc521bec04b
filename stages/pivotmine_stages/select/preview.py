"""How many rows a selection would have, without writing it: over the bound on the mean, and over K."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import polars as pl

from pivotmine_stages.select.rule import SelectConfig, choose_states
