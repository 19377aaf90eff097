"""What the S3 server makes of keys that AWS would keep as they are: as docs/troubleshooting.md says it."""

from __future__ import annotations

import json
import subprocess

import pytest
from stack import Stack

STORE = """
import boto3, json, sys
s3, key = boto3.client("s3"), sys.argv[1]
s3.put_object(Bucket="mlflow", Key="names/" + key if not key.startswith("/") else key, Body=b"x")
found = [one["Key"] for one in s3.list_objects_v2(Bucket="mlflow").get("Contents", []) if one["Size"] == 1]
for one in found:
    s3.delete_object(Bucket="mlflow", Key=one)
print(json.dumps(found))
"""


@pytest.mark.parametrize(
    ("key", "stored"),
    [
        ("a/b", "names/a/b"),
        ("a b+é%2F", "names/a b+é%2F"),
        ("a//b", "names/a/b"),
        ("a\\b", "names/a/b"),
        ("/slash", "slash"),
    ],
)
def test_key_is_stored_as_the_docs_say(stack: Stack, key: str, stored: str) -> None:
    command = [stack.program("mlflow", "python"), "-c", STORE, key]
    done = subprocess.run(command, env=stack.client_environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [stored]
