"""Every page of the console, for ``app``. What is more particular comes before what is general."""

from __future__ import annotations

from itertools import chain
from typing import Final

from certferry.console.pages import certificates as all_certificates
from certferry.console.pages import clusters, events, overview
from certferry.console.pages import live_updates as live
from certferry.console.pages import rotation as rotation_page
from certferry.console.pages.elb import certificate_bind as elb_certificate_seats
from certferry.console.pages.elb import certificate_edit as elb_certificate_forms
from certferry.console.pages.elb import certificate_history as elb_history
from certferry.console.pages.elb import certificates as elb_certificates
from certferry.console.pages.elb import listener as elb_listener
from certferry.console.pages.elb import load_balancers as elb_balancers
from certferry.console.pages.ingresses import create as ingress_create
from certferry.console.pages.ingresses import list as ingress_list
from certferry.console.pages.ingresses import synchronize as ingress_sync
from certferry.console.pages.ingresses import update as ingress_update
from certferry.console.pages.objects import delete as objects_delete
from certferry.console.pages.objects import lists as other_lists
from certferry.console.pages.objects import yaml as objects_yaml
from certferry.console.pages.request import Page
from certferry.console.pages.secrets import create as secret_create
from certferry.console.pages.secrets import list as secret_list
from certferry.console.pages.secrets import update as secret_update

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
