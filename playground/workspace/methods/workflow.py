"""Steps of workflows, ended by the app."""

from __future__ import annotations

from playground.workspace.methods.registry import Json, serves
from playground.workspace.records import Execution
from playground.workspace.steps import wrong_outputs
from playground.workspace.webapi import Api, Refusal


def _running(api: Api, given: Json) -> Execution:
    execution = api.state.executions.get(given["function_execution_id"])
    if execution is None:
        raise Refusal("function_execution_not_found")
    if execution.state != "running":
        raise Refusal("execution_not_in_running_state")
    return execution


@serves("functions.completeSuccess")
def complete(api: Api, given: Json) -> Json:
    """The step is done, with its outputs."""
    execution = _running(api, given)
    if problems := wrong_outputs(api.state.app.steps[execution.step], given["outputs"]):
        raise Refusal("parameter_validation_failed", *problems)
    with api.state.changing():
        execution.state, execution.outputs = "completed", given["outputs"]
    return {}


@serves("functions.completeError")
def fail(api: Api, given: Json) -> Json:
    """The step failed: whoever ran the workflow is told."""
    execution = _running(api, given)
    with api.state.changing():
        execution.state, execution.error = "failed", given["error"]
    if execution.user:
        api.state.notice(execution.user, f"A step of your workflow failed: {given['error']}")
    return {}
