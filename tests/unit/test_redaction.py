import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrnn_qiskit.redaction import redact

ID = "0123456789abcdef" * 4
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJpYW1faWQiOiJJQk1pZCJ9.c2lnbmF0dXJlLXBhcnQ"
CRN = "crn:v1:bluemix:public:quantum-computing:us-east:a/1a2b3c:4d5e6f-7a8b::"
API_KEY = "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7_cF0iL-oR3uX6aD9b"

SECRETS = {
    "jwt": f"token was {JWT}",
    "cut jwt": f"token was {JWT[:40]}",
    "key": f"key {API_KEY} is unknown",
    "old token": "0123456789abcdef" * 8,
    "crn": f"instance {CRN} not found",
    "encoded crn": f"GET /instances/{CRN.replace(':', '%3A').replace('/', '%2F')}/usage",
    "header": f"Authorization: Bearer {API_KEY[:20]}",
    "json header": json.dumps({"Authorization": f"Bearer {API_KEY[:20]}"}),
    "repr header": repr({"authorization": f"apikey {API_KEY[:20]}", "Service-CRN": CRN}),
    "escaped": json.dumps(json.dumps({"apikey": API_KEY[:20]})),
    "json": json.dumps({"apikey": API_KEY[:20], "access_token": JWT}),
    "form": f"grant_type=urn&apikey={API_KEY[:20]}&refresh_token={API_KEY[:15]}",
    "variable": f"QISKIT_IBM_TOKEN={API_KEY[:20]} python",
    "argument": f"QiskitRuntimeService(token='{API_KEY[:20]}', instance='{CRN}')",
    "address": f"https://user:{API_KEY[:10]}@quantum.cloud.ibm.com/api",
    "bare bearer": f"sent bearer {API_KEY[:20]}",
}


@pytest.mark.parametrize("name", SECRETS)
def test_secrets_are_redacted(name):
    secrets = (JWT[:30], API_KEY[:10], CRN, CRN[20:40], "a%2F1a2b3c", "0123456789abcdef" * 8)
    text = redact(SECRETS[name])
    assert not any(secret in text for secret in secrets), text
    assert "[redacted]" in text
    assert redact(text) == text


@pytest.mark.parametrize(
    "text",
    [
        f"qrnn-{ID[:24]}-1",
        ID,
        f"job d1k2m3n4p5q6r7s8t9u0 of {ID} failed: 1 token left, keyboard: no",
        "https://quantum.cloud.ibm.com/api/v1/jobs/d1k2m3n4p5q6r7s8t9u0?limit=5",
        "Error 1517: instruction if_else not supported on ibm_torino (qubits 3, 4)",
        "qrnn_qiskit.ledger.ledger.test_a_very_long_name_of_a_test_function",
        '  File "/home/someone/project/main.py", line 12, in run',
    ],
)
def test_what_is_no_secret_stays(text):
    assert redact(text) == text


PIECES = [JWT, CRN, API_KEY, "token", "Authorization", "Bearer", "[redacted]", *" =:'\",\\\n{}@/."]


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_redacting_twice_is_redacting_once(text):
    once = redact(text)
    assert redact(once) == once
