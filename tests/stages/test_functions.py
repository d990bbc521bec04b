"""The stages as functions of `pivotmine_stages`."""

import inspect
from dataclasses import is_dataclass

import pivotmine_stages


def test_each_stage_is_a_function_that_takes_its_options() -> None:
    assert dir(pivotmine_stages) == sorted(pivotmine_stages.__all__)
    found = {name: getattr(pivotmine_stages, name) for name in pivotmine_stages.__all__}
    functions = {name: value for name, value in found.items() if name.startswith("run_")}
    assert len(functions) == 11
    assert list(inspect.signature(functions.pop("run_status")).parameters) == ["run"]
    for name, function in functions.items():
        config, run, *rest = inspect.signature(function, eval_str=True).parameters.values()
        assert (run.name, config.name) == ("run", "config"), name
        assert config.annotation is found[f"{name.removeprefix('run_').title()}Config"], name
        assert all(one.default is not one.empty for one in rest), name
    assert all(is_dataclass(value) for name, value in found.items() if not name.startswith("run_"))
    assert not hasattr(pivotmine_stages, "run_nothing")
