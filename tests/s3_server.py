"""A store that speaks S3, for tests: moto's server, in a process of its own."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import ClientError, ClientSession

from tests.servers import free_port

BUCKET = "desk"
SECRET = "correct-horse-battery-staple"  # noqa: S105 - of a server that ends with the test


@asynccontextmanager
async def s3_server() -> AsyncIterator[dict[str, str]]:
    """A running store with an empty bucket; yields the environment of programs that use it."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)),
        env=os.environ | {"MOTO_S3_DEFAULT_KEY_BUFFER_SIZE": str(64 * 2**20)},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        async with asyncio.timeout(30), ClientSession() as session:
            while True:
                assert process.returncode is None, "moto has ended"
                try:
                    async with session.put(f"{url}/{BUCKET}") as response:
                        if response.ok:
                            break
                except ClientError:
                    pass
                await asyncio.sleep(0.05)
        yield {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "desk",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
