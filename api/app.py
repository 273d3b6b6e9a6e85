"""The HTTP application: `create_app`, which uvicorn calls as a factory."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from fastapi import FastAPI
from fastapi.routing import APIRoute

from api import errors, idempotency, metrics, openapi
from api.dependencies import ADMITTED
from api.middleware import Authentication, BodyLimit, RequestContext
from api.pages import routes as pages
from api.polling import Polling
from api.routes import (
    architectures,
    comparisons,
    dataset_images,
    datasets,
    evaluations,
    jobs,
    keys,
    model_aliases,
    models,
    predictions,
    searches,
    storage,
    system,
    uploads,
    webhooks,
    workers,
)
from api.services import opened
from api.settings import Settings
from api.tracing import Traced
from store.monitoring import exposed, own_version
from store.settings import read

# They count the bytes of their bodies themselves.
_STREAMING = re.compile(
    r"/v1/datasets|/v1/evaluations|/v1/uploads(/[^/]+)?|/v1/models|/v1/models/[^/]+/predict"
)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application; without `settings`, with those of the environment.

    Raises `SettingsInvalid` when they are wrong. It starts only on a database that has been migrated.
    """
    settings = settings or read(Settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with opened(settings) as services:
            app.state.services = services
            app.state.registry = metrics.registry(services)
            preloading = asyncio.create_task(services.preload.run())
            try:
                with exposed(app.state.registry, settings):
                    yield
            finally:
                preloading.cancel()
                await services.following.close()
                await services.glances.close()

    app = FastAPI(
        title="HarmonicDet",
        version=own_version(),
        description=openapi.DESCRIPTION,
        lifespan=lifespan,
        # FastAPI's pages load their scripts from a CDN; `routes.system` has one that needs none.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=_operation_id,
        dependencies=[ADMITTED],
        # `Traced` and `api.metrics` do this; FastAPI's own looks at each request whether it is wanted.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    errors.register(app)
    idempotency.register(app)
    app.add_middleware(Polling)
    app.add_middleware(BodyLimit, limit=settings.body_limit_bytes, streaming=_STREAMING)
    app.add_middleware(Authentication)
    if settings.traces:
        app.add_middleware(Traced)
    app.add_middleware(RequestContext)
    for module in (
        predictions,  # routes are looked through in this order, half a millisecond to the last
        datasets,
        dataset_images,
        uploads,
        architectures,
        jobs,
        models,
        model_aliases,
        evaluations,
        comparisons,
        searches,
        webhooks,
        keys,
        system,
        workers,
        storage,
        pages,
    ):
        app.include_router(module.router)
    app.openapi = partial(openapi.describe, app)  # type: ignore[method-assign]
    return app


def _operation_id(route: APIRoute) -> str:
    return route.name
