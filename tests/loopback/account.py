"""Who may come in: tokens as the IBM SDK decodes them, the instance and its plan."""

import base64
import json
import time
from typing import Any, Literal

Plan = Literal["open", "premium"]

TOKEN = "loopback-api-key"
CRN = (
    "crn:v1:bluemix:public:quantum-computing:us-east:a/0123456789abcdef0123456789abcdef:"
    "00000000-0000-4000-8000-000000000000::"
)
# What the Open plan has in 28 days, seconds.
OPEN_LIMIT_SECONDS = 600
_PLAN_ID = "loopback-plan"


def issue_token(lifetime_seconds: int) -> dict[str, Any]:
    """The answer of POST identity/token: a JWT that says when it ends."""
    now = int(time.time())
    claims = {"iat": now, "exp": now + lifetime_seconds, "iam_id": "loopback"}
    token = ".".join([_encode({"alg": "RS256", "typ": "JWT"}), _encode(claims), "c2lnbmF0dXJl"])
    return {
        "access_token": token,
        "refresh_token": "not_supported",
        "token_type": "Bearer",
        "expires_in": lifetime_seconds,
        "expiration": claims["exp"],
    }


def is_valid(authorization: str) -> bool:
    """Whether an Authorization header holds a token that `issue_token` gave and that still holds.

    Nothing is remembered: tokens survive a restart of the server, as those of IBM do.
    """
    kind, _, token = authorization.partition(" ")
    try:
        claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    except (IndexError, ValueError):
        return False
    return kind == "Bearer" and claims.get("exp", 0) >= time.time()


def describe_instance() -> dict[str, Any]:
    """The answer of the resource search; without `extensions` the client ignores the instance."""
    return {
        "items": [
            {
                "crn": CRN,
                "name": "loopback",
                "service_plan_unique_id": _PLAN_ID,
                "tags": [],
                "doc": {"extensions": {"backends": "all"}},
            }
        ],
        "limit": 100,
    }


def describe_plan(plan: Plan) -> dict[str, Any]:
    """The answer of the catalog."""
    return {
        "id": _PLAN_ID,
        "overview_ui": {"en": {"display_name": plan.capitalize()}},
        "metadata": {"pricing": {"type": "free" if plan == "open" else "paid"}},
    }


def describe_usage(plan: Plan, consumed: float, limit_seconds: float | None) -> dict[str, Any]:
    """The answer of GET instances/usage."""
    limit = OPEN_LIMIT_SECONDS if limit_seconds is None and plan == "open" else limit_seconds
    content: dict[str, Any] = {
        "instance_id": CRN,
        "plan_id": _PLAN_ID,
        "usage_consumed_seconds": consumed,
        "usage_limit_reached": limit is not None and consumed >= limit,
    }
    return content | ({} if limit is None else {"usage_limit_seconds": limit})


def _encode(content: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")
