#!/usr/bin/python
"""Ansible module: copies an S3 bucket's objects into a directory, or back into a bucket."""

from __future__ import annotations

DOCUMENTATION = r"""
module: objects
short_description: Carry the objects of an S3 bucket from one server to another, over a directory
author: The developers of gaiaflow-setup (!UNKNOWN)
description:
  - C(exported) copies every object into the directory, which is there under its name only when it is whole.
  - C(imported) copies what the directory holds into the bucket, and then removes the directory.
  - Runs with the Python of the environment that holds botocore.
options:
  state:
    description: The direction.
    type: str
    choices: [exported, imported]
    required: true
  directory:
    description: The directory between the two.
    type: path
    required: true
  credentials:
    description: The instance's credentials file.
    type: path
    required: true
  port:
    description: Where the S3 server answers on loopback.
    type: int
    required: true
  bucket:
    description: The bucket.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Export the bucket's objects
  gaiaflow.setup.objects:
    state: exported
    directory: "{{ instance }}/data/carried"
    credentials: "{{ instance }}/credentials.json"
    port: 9000
    bucket: mlflow
"""

RETURN = r"""
objects:
  description: How many objects were copied.
  returned: always
  type: int
"""

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.common import end_with_run, read_json, report_progress

INDEX = "index.json"
# The engine's and the servers' limit for one request is far above this.
PART_BYTES = 64 * 1024 * 1024


def client(module: AnsibleModule) -> Any:
    """Return a client of the S3 server."""
    from botocore.config import Config
    from botocore.session import get_session

    keys = read_json(Path(module.params["credentials"]))["minio"]
    return get_session().create_client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{module.params['port']}",
        aws_access_key_id=keys["access_key"],
        aws_secret_access_key=keys["secret_key"],
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}, proxies={}),
    )


def keys_in(s3: Any, bucket: str) -> list[str]:
    """Return the names of all objects of the bucket; none where MLflow has not come so far as to make it."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    try:
        return [one["Key"] for page in pages for one in page.get("Contents", [])]
    except s3.exceptions.NoSuchBucket:
        return []


def export(s3: Any, bucket: str, directory: Path) -> int:
    """Copy the bucket's objects into the directory; return how many they are."""
    new = directory.with_name(directory.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True, mode=0o700)
    try:
        count = copy_out(s3, bucket, new)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    # That of a change which was given up: the store has gone on since.
    shutil.rmtree(directory, ignore_errors=True)
    new.rename(directory)
    return count


def copy_out(s3: Any, bucket: str, directory: Path) -> int:
    """Copy the bucket's objects into an empty directory; return how many they are."""
    index = {}
    for number, key in enumerate(keys_in(s3, bucket), 1):
        answer = s3.get_object(Bucket=bucket, Key=key)
        # Not under its own name, which need not be one that a file may have.
        name = hashlib.sha256(key.encode()).hexdigest()
        with (directory / name).open("wb") as file:
            shutil.copyfileobj(answer["Body"], file)
        index[name] = {"key": key, "content_type": answer["ContentType"], "metadata": answer["Metadata"]}
        report_progress(f"{number} objects copied out of S3")
    (directory / INDEX).write_text(json.dumps(index))
    return len(index)


def parts(path: Path) -> Iterator[bytes]:
    """Yield the pieces of a file."""
    with path.open("rb") as file:
        while piece := file.read(PART_BYTES):
            yield piece


def put(s3: Any, target: dict[str, Any], path: Path) -> None:
    """Copy one file into the bucket, a big one in parts."""
    place = {"Bucket": target["Bucket"], "Key": target["Key"]}
    if path.stat().st_size <= PART_BYTES:
        s3.put_object(**target, Body=path.read_bytes())
        return
    upload = s3.create_multipart_upload(**target)["UploadId"]
    done = []
    for number, piece in enumerate(parts(path), 1):
        answer = s3.upload_part(**place, UploadId=upload, PartNumber=number, Body=piece)
        done.append({"PartNumber": number, "ETag": answer["ETag"]})
    s3.complete_multipart_upload(**place, UploadId=upload, MultipartUpload={"Parts": done})


def bring_back(s3: Any, bucket: str, directory: Path) -> int:
    """Copy the directory's objects into the bucket; return how many they are."""
    index = read_json(directory / INDEX)
    for number, (name, one) in enumerate(index.items(), 1):
        target = {"Bucket": bucket, "Key": one["key"], "ContentType": one["content_type"], "Metadata": one["metadata"]}
        put(s3, target, directory / name)
        report_progress("copying objects into S3", number, len(index))
    shutil.rmtree(directory, ignore_errors=True)
    return len(index)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["exported", "imported"], "required": True},
            "directory": {"type": "path", "required": True},
            "credentials": {"type": "path", "required": True, "no_log": False},
            "port": {"type": "int", "required": True},
            "bucket": {"type": "str", "required": True},
        },
    )
    end_with_run()
    directory, bucket = Path(module.params["directory"]), module.params["bucket"]
    try:
        work = export if module.params["state"] == "exported" else bring_back
        objects = work(client(module), bucket, directory)
    except Exception as error:  # botocore's are many, and each has to be said
        module.fail_json(
            msg=f"S3's objects were not copied: {error}",
            hint="Nothing was deleted. The same command goes on where this ended; --no-carry-data starts without them.",
        )
    module.exit_json(changed=bool(objects), objects=objects)


if __name__ == "__main__":
    main()
