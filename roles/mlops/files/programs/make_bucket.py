"""Makes the bucket of MLflow's artifacts where there is none: `make_bucket.py NAME`, in MLflow's environment."""

from __future__ import annotations

import os
import sys

import boto3
from botocore.exceptions import ClientError


def main(bucket: str) -> None:
    """Make the bucket on the server that MLFLOW_S3_ENDPOINT_URL names."""
    client = boto3.client("s3", endpoint_url=os.environ["MLFLOW_S3_ENDPOINT_URL"])
    try:
        client.head_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            raise
        client.create_bucket(Bucket=bucket)


if __name__ == "__main__":
    main(*sys.argv[1:])
