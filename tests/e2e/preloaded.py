"""What a worker imports, and what it reads of botocore's own files, for forks to have it at once.

None of it reads a setting, starts a thread or opens a connection when it is imported. The
application, which does read settings, is left to each fork.
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
    "worker.health.start",
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
