"""Documents of the API about clients."""

from __future__ import annotations

from itertools import islice

from lbflask.control.api.models import ClientsView, ClientView, UploadsView
from lbflask.core.client_shares import ClientRates
from lbflask.core.slow_uploads import Uploads

#: Clients that are shown.
MOST_CLIENTS = 5


def clients_view(rates: ClientRates) -> ClientsView:
    """The view of the clients, without those that no longer ask."""
    busiest = [
        ClientView(client=client, per_second=round(rate, 2))
        for client, rate in islice(rates.by_client.items(), MOST_CLIENTS)
        if rate
    ]
    return ClientsView(per_second=round(rates.total, 2), busiest=busiest)


def uploads_view(uploads: Uploads) -> UploadsView | None:
    """The view of the uploads at a backend; None without any."""
    if not uploads.receiving:
        return None
    client, of_client = max(uploads.by_client.items(), key=lambda item: item[1], default=("", 0))
    return UploadsView(
        slow=uploads.slow,
        oldest=round(uploads.oldest, 1),
        client=client,
        of_client=of_client,
        receiving=uploads.receiving,
    )


def uploads_text(view: UploadsView) -> str:
    """How many slow uploads hold a backend, for how many seconds, and of whom."""
    held = f"{view.slow} slow uploads hold it, the oldest for {view.oldest:.0f} s"
    return f"{held}; {view.of_client} of them from {view.client}" if view.client else held
