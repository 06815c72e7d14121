"""Every page of the console, for ``app``. What is more particular comes before what is general."""

from __future__ import annotations

from itertools import chain
from typing import Final

from certferry.console import (
    all_certificates,
    clusters,
    elb_balancers,
    elb_certificate_forms,
    elb_certificate_seats,
    elb_certificates,
    elb_history,
    elb_listener,
    events,
    ingress_create,
    ingress_list,
    ingress_sync,
    ingress_update,
    live,
    objects_delete,
    objects_yaml,
    other_lists,
    overview,
    rotation_page,
    secret_create,
    secret_list,
    secret_update,
)
from certferry.console.routes import Page

PAGES: Final[tuple[Page, ...]] = tuple(
    chain(
        clusters.PAGES,
        all_certificates.PAGES,
        live.PAGES,
        overview.PAGES,
        elb_balancers.PAGES,
        elb_listener.PAGES,
        elb_certificates.PAGES,
        elb_certificate_forms.PAGES,
        elb_certificate_seats.PAGES,
        elb_history.PAGES,
        rotation_page.PAGES,
        secret_list.PAGES,
        secret_create.PAGES,
        secret_update.PAGES,
        ingress_list.PAGES,
        ingress_create.PAGES,
        ingress_update.PAGES,
        ingress_sync.PAGES,
        other_lists.PAGES,
        events.PAGES,
        objects_yaml.PAGES,
        objects_delete.PAGES,
    )
)
