"""What the S3 server makes of keys: kept as they are, or refused, as docs/troubleshooting.md says it."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from stack import Stack

STORE = """
import boto3, botocore.exceptions, json, sys
s3, key = boto3.client("s3"), sys.argv[1]
key = key if key.startswith("/") else "names/" + key
try:
    s3.put_object(Bucket="mlflow", Key=key, Body=b"x" * int(sys.argv[2]))
    said = "stored"
except botocore.exceptions.ClientError as error:
    said = error.response["Error"]["Code"]
found = [one["Key"] for one in s3.list_objects_v2(Bucket="mlflow", Prefix="names/").get("Contents", [])]
reads = []
for call in (s3.get_object, s3.head_object, s3.delete_object):
    try:
        reads.append(call(Bucket="mlflow", Key=key)["ResponseMetadata"]["HTTPStatusCode"])
    except botocore.exceptions.ClientError as error:
        reads.append(error.response["ResponseMetadata"]["HTTPStatusCode"])
print(json.dumps([said, found, reads]))
"""


def store(stack: Stack, key: str, size: int = 1) -> Any:
    """Store an object; return what was said, what is there then, and what reading and deleting it says."""
    command = [stack.program("mlflow", "python"), "-c", STORE, key, str(size)]
    done = subprocess.run(command, env=stack.client_environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("key", ["a/b", "a b+é%2F", "a%5Cb", ".hidden/..b", "a/b/", "?query#part", "~-_.!*'()"])
def test_key_is_kept_as_it_is(stack: Stack, key: str) -> None:
    assert store(stack, key) == ["stored", [f"names/{key}"], [200, 200, 204]]


@pytest.mark.parametrize("key", ["a//b", "a\\b", "/slash", "a/../b", "a/./b", "..", "//", "a//"])
def test_key_that_would_become_another_is_refused(stack: Stack, key: str) -> None:
    assert store(stack, key) == ["InvalidArgument", [], [404, 404, 204]]


def test_large_object_with_such_a_key_is_refused(stack: Stack) -> None:
    """The client waits to be asked for the body, or sends it all: it gets the answer either way."""
    assert store(stack, "a//b", size=20_000_000)[0] == "InvalidArgument"


def test_deleting_such_a_key_deletes_no_other(stack: Stack) -> None:
    code = """
import boto3
s3 = boto3.client("s3")
s3.put_object(Bucket="mlflow", Key="names/a/b", Body=b"x")
s3.delete_object(Bucket="mlflow", Key="names/a//b")
s3.delete_object(Bucket="mlflow", Key="names/a/./b")
print(s3.get_object(Bucket="mlflow", Key="names/a/b")["Body"].read().decode())
s3.delete_object(Bucket="mlflow", Key="names/a/b")
"""
    command = [stack.program("mlflow", "python"), "-c", code]
    done = subprocess.run(command, env=stack.client_environment(), capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "x", done.stderr
