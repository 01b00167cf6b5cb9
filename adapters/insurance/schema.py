"""State the shape of NHSA 3101, 3102 and 3103 as JSON schema, for the API's description.

Only what is refused is stated: leaves of any type are read as far as they can be and otherwise noted.
"""

from __future__ import annotations

from typing import Any

__all__ = ["MSGID", "answer_schema", "problem_schema", "request_schema"]

Schema = dict[str, Any]

MSGID = r"[0-9A-Za-z][0-9A-Za-z_.:-]{0,63}"


def _listed(item: Schema, *, required: bool) -> Schema:
    """Return the schema of a list for which one object may stand; if it is optional, blank or null too."""
    if required:
        return {"anyOf": [{"type": "array", "minItems": 1, "items": item}, item]}
    return {"anyOf": [{"type": "array", "items": item}, item, {"enum": ["", "-", None]}]}


def _audit() -> Schema:
    anything: Schema = {"type": "object"}
    encounter: Schema = {
        "type": "object",
        "description": "mdtrt_id, med_type, adm_date, dscg_date, insutype, medins_lv and others of 3101",
        "properties": {
            "fsi_diagnose_dtos": _listed(anything, required=False),
            "fsi_order_dtos": _listed(anything, required=False),
            "fsi_operation_dtos": _listed(anything, required=False),
        },
    }
    patient: Schema = {
        "type": "object",
        "description": "patn_id, gend, brdy, poolarea, curr_mdtrt_id; patn_name is not read",
        "required": ["fsi_encounter_dtos"],
        "properties": {"fsi_encounter_dtos": _listed(encounter, required=True)},
    }
    return {
        "type": "object",
        "description": "syscode, trig_scen, rule_ids, task_id",
        "required": ["patient_dtos"],
        "properties": {"patient_dtos": _listed(patient, required=True)},
    }


def _feedback() -> Schema:
    warn: Schema = {"type": "object", "description": "warn_rslt_id, dspo_way, dspo_way_rea"}
    return {
        "type": "object",
        "description": "warn_type",
        "required": ["warns"],
        "properties": {"warns": _listed(warn, required=True)},
    }


def request_schema(*infnos: str) -> Schema:
    """Return the schema of an envelope that may carry these transactions."""
    msgid = {
        "anyOf": [
            {"type": "string", "pattern": f"^{MSGID}$"},
            {"type": "integer", "minimum": 0},
        ]
    }
    variants = []
    for infno in infnos:
        data = _feedback() if infno == "3103" else _audit()
        variants.append(
            {
                "type": "object",
                "required": ["infno", "msgid", "input"],
                "properties": {
                    "infno": {"enum": [infno, int(infno)]},
                    "msgid": msgid,
                    "input": {"type": "object", "required": ["data"], "properties": {"data": data}},
                },
            }
        )
    return variants[0] if len(variants) == 1 else {"anyOf": variants}


def answer_schema() -> Schema:
    """Return the schema of the answer's envelope."""
    nodes: Schema = {"type": "array", "items": {"type": "object"}}
    return {
        "type": "object",
        "required": [
            "infcode",
            "inf_refmsgid",
            "refmsg_time",
            "respond_time",
            "err_msg",
            "warn_msg",
            "output",
        ],
        "properties": {
            "infcode": {"enum": [0, -1]},
            "inf_refmsgid": {"type": "string"},
            "refmsg_time": {"type": "string"},
            "respond_time": {"type": "string"},
            "err_msg": {"type": "string"},
            "warn_msg": {"type": "string"},
            "output": {
                "type": "object",
                "properties": dict.fromkeys(
                    ("result", "notices", "not_checked", "decisions", "notes"), nodes
                ),
            },
        },
    }


def problem_schema() -> Schema:
    """Return the schema of a refusal: problem details (RFC 9457) that are an envelope as well."""
    envelope = answer_schema()
    words = {name: {"type": "string"} for name in ("type", "title", "detail", "path")}
    properties = envelope["properties"] | words | {"status": {"type": "integer"}}
    return envelope | {
        "required": [*envelope["required"], "type", "title", "status", "detail"],
        "properties": properties,
    }
