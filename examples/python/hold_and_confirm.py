"""Hold two tickets, let the buyer pay by card with 3-D Secure, and confirm; the buyer's token has the role `user`."""

import os
import sys

from ticketing.client import connect
from ticketing.tickets.v1 import event_pb2, purchase_pb2, purchase_service_pb2
from ticketing.tickets.v1.purchase_service_pb2_grpc import PurchaseServiceStub

with connect(os.environ["TICKETS_ADDRESS"], os.environ["USER_TOKEN"], plain_text=True) as channel:
    purchases = PurchaseServiceStub(channel)
    # The page of the shop made the payment method with Stripe.js; this service never sees a card.
    order = purchase_service_pb2.PurchaseTicketsRequest(
        event_id=os.environ["EVENT_ID"], payment_method_id=os.environ["PAYMENT_METHOD"], email="bob@example.com"
    )
    order.items.add(ticket_type=event_pb2.TICKET_TYPE_STANDARD, quantity=2)
    purchase = purchases.PurchaseTickets(order).purchase

    if purchase.status == purchase_pb2.PURCHASE_STATUS_HELD:
        # The places are held until hold_expire_time. The page calls stripe.handleNextAction with the secret, in which
        # the buyer confirms with their bank, and then reports back.
        print("secret of the page:", purchase.payment.client_secret, flush=True)
        sys.stdin.readline()
        confirmation = purchase_service_pb2.ConfirmPurchaseRequest(purchase_id=purchase.purchase_id)
        purchase = purchases.ConfirmPurchase(confirmation).purchase

    # COMPLETED, DECLINED, or still HELD: a webhook reports the end of a purchase as well.
    print(purchase_pb2.PurchaseStatus.Name(purchase.status), *(ticket.code for ticket in purchase.tickets))
