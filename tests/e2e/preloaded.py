"""Modules that a worker imports, and botocore data files that it reads, loaded before forking.

Importing them reads no setting, starts no thread and opens no connection. The application, which
reads settings, is imported by each fork.
"""

from __future__ import annotations

import importlib
from typing import Final

from adapters.aws import client as aws

MODULES: Final = (
    "billiard.popen_fork",
    "billiard.sharedctypes",
    "celery.app.routes",
    "celery.apps.worker",
    "celery.backends.base",
    "celery.bin.celery",
    "celery.concurrency.prefork",
    "celery.concurrency.solo",
    "celery.concurrency.thread",
    "celery.events.receiver",
    "celery.worker.components",
    "celery.worker.consumer",
    "cffi.cparser",
    "encodings.idna",
    "kombu.pidbox",
    "worker.bootstrap",
    "worker.resources.start",
    "worker.lifecycle",
    "worker.pool_watch",
    "application.pending_command",
)
READ: Final = ("endpoints", "partitions", "sdk-default-configuration", "_retry")

for _module in MODULES:
    importlib.import_module(_module)
_models = aws._models()
for _name in READ:
    _models.load_data(_name)
for _service in ("dynamodb", "sns", "sqs"):
    for _kind in ("service-2", "endpoint-rule-set-1", "paginators-1"):
        _models.load_service_model(_service, _kind)
