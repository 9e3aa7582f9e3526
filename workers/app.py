"""The Celery app: `celery -A workers.app worker`. Redis carries wake-ups and may be flushed at any moment."""

from typing import Any

from celery import Celery
from celery.signals import setup_logging, worker_shutdown
from kombu import Exchange, Queue

from rushes.logs import configure_logging
from rushes.monitoring.broker import find_tls, spell_broker
from rushes.settings import Settings, load_settings
from workers.celery_fixes.bootsteps import DispatcherStep, EventLists
from workers.celery_fixes.flower_login import require_login
from workers.tasks import close_runtime

EXCHANGE = Exchange("rushes", type="direct")
QUEUES = ("submit", "reconcile", "watch", "resume", "store", "report", "deliver")

TRANSPORT_OPTIONS = {
    "ack_emulation": False,  # Redis keeps no copy of a received message: the row's lease is the redelivery
    "priority_steps": [0],  # our tasks have no priorities, and each would add one more list to wait for
    "health_check_interval": 10,
    "socket_timeout": 10,
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
}


def create_app(settings: Settings) -> Celery:
    """A Celery app for these settings: early acks, no result backend, prefetch 1, one queue per kind of step."""
    url = settings.get_redis_url()
    app = Celery("rushes", broker=spell_broker(url), include=["workers.tasks"])
    app.conf.update(
        task_ignore_result=True,
        task_acks_late=False,
        task_create_missing_queues=False,
        task_default_queue="submit",
        task_queues=[Queue(name, EXCHANGE, routing_key=name) for name in QUEUES],
        task_default_exchange=EXCHANGE.name,
        task_send_sent_event=False,
        task_serializer="json",
        accept_content=["json"],
        worker_pool="threads",
        worker_consumer="workers.celery_fixes.consumer:SurvivingConsumer",
        worker_prefetch_multiplier=1,
        worker_send_task_events=True,
        worker_hijack_root_logger=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_use_ssl=find_tls(url, settings.ca_file),
        broker_transport_options=TRANSPORT_OPTIONS,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_pool_limit=50,  # Flower makes eight requests at once and needs two connections for each
        broker_pool_acquire_timeout=10,
        event_queue_expires=60,
        event_queue_ttl=30,
    )
    app.steps["worker"].add(DispatcherStep)
    app.steps["consumer"].add(EventLists)
    return app


@setup_logging.connect(weak=False)
def _configure(**_: Any) -> None:
    configure_logging(as_json=load_settings().log_json)


worker_shutdown.connect(close_runtime, weak=False)
app = create_app(load_settings())
require_login()
