"""All pages of the console, specific paths before general ones."""

from __future__ import annotations

from itertools import chain
from typing import Final

from certferry.console.pages import certificates, clusters, events, live_updates, overview, rotation, search
from certferry.console.pages.elb import (
    certificate_bind,
    certificate_edit,
    certificate_history,
    listener,
    listener_detail,
    load_balancers,
)
from certferry.console.pages.elb import certificates as elb_certificates
from certferry.console.pages.hosts import list as host_list
from certferry.console.pages.ingresses import create as ingress_create
from certferry.console.pages.ingresses import detail as ingress_detail
from certferry.console.pages.ingresses import list as ingress_list
from certferry.console.pages.ingresses import synchronize as ingress_synchronize
from certferry.console.pages.ingresses import update as ingress_update
from certferry.console.pages.objects import delete, lists, yaml
from certferry.console.pages.request import Page
from certferry.console.pages.secrets import create as secret_create
from certferry.console.pages.secrets import detail as secret_detail
from certferry.console.pages.secrets import list as secret_list
from certferry.console.pages.secrets import update as secret_update

PAGES: Final[tuple[Page, ...]] = tuple(
    chain(
        clusters.PAGES,
        certificates.PAGES,
        search.PAGES,
        live_updates.PAGES,
        overview.PAGES,
        host_list.PAGES,
        load_balancers.PAGES,
        listener.PAGES,
        listener_detail.PAGES,
        elb_certificates.PAGES,
        certificate_edit.PAGES,
        certificate_bind.PAGES,
        certificate_history.PAGES,
        rotation.PAGES,
        secret_list.PAGES,
        secret_create.PAGES,
        secret_update.PAGES,
        secret_detail.PAGES,
        ingress_list.PAGES,
        ingress_create.PAGES,
        ingress_update.PAGES,
        ingress_synchronize.PAGES,
        ingress_detail.PAGES,
        lists.PAGES,
        events.PAGES,
        yaml.PAGES,
        delete.PAGES,
    )
)
