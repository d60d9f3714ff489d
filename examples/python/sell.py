"""Sell a ticket that the buyer has paid to the shop, and print the text of its QR code; the token has the role `service`."""

import os

from ticketing.client import connect, new_id
from ticketing.tickets.v1 import event_pb2, purchase_service_pb2
from ticketing.tickets.v1.purchase_service_pb2_grpc import PurchaseServiceStub

with connect(os.environ["TICKETS_ADDRESS"], os.environ["SERVICE_TOKEN"], plain_text=True) as channel:
    order = purchase_service_pb2.PurchaseTicketsRequest(event_id=os.environ["EVENT_ID"])
    order.items.add(ticket_type=event_pb2.TICKET_TYPE_STANDARD, quantity=1)
    order.external_payment_id, order.user_id = f"payment-{new_id()}", "bob"
    order.expected_total.currency_code, order.expected_total.minor_units = "EUR", 25_00
    purchase = PurchaseServiceStub(channel).PurchaseTickets(order).purchase
    print(purchase.tickets[0].token)
