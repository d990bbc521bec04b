"""What the commands import, imported once for all of them."""

from importlib import import_module

for _stage in ("export", "report", "rollout", "score", "status", "verify"):
    import_module(f"pivotmine_stages.{_stage}.stage")
for _name in ("cli.app", "cli.config_file", "cli.options", "cli.reports", "extract.dry_run", "select.preview"):
    import_module(f"pivotmine_stages.{_name}")
import_module("pivotmine_stages.engines.openai.engine")
# Named, since these packages import what they hold when it is asked for.
for _package, _held in (("transformers", "AutoTokenizer"), ("transformers", "PreTrainedTokenizerFast")):
    getattr(import_module(_package), _held)
