"""Conversion of disputes and outside refunds to messages, and parsing of ListDisputes."""

from typing import Final

from ticket_service.convert.money import money_message
from ticket_service.domain.disputes import Dispute, DisputeStatus
from ticket_service.domain.outside_refunds import OutsideRefund, OutsideRefundKind
from ticket_service.domain.queries import DisputeQuery
from ticketing.chassis.parsing import Fields
from ticketing.chassis.times import timestamp
from ticketing.tickets.v1 import purchase_pb2
from ticketing.tickets.v1 import purchase_service_pb2 as pb

DISPUTE_STATUSES: Final = {
    status: purchase_pb2.DisputeStatus.Value(f"DISPUTE_STATUS_{status}") for status in DisputeStatus
}


def dispute_message(dispute: Dispute) -> purchase_pb2.Dispute:
    """Build the message of a dispute."""
    return purchase_pb2.Dispute(
        dispute_id=str(dispute.dispute_id),
        event_id=str(dispute.event_id),
        purchase_id=str(dispute.purchase_id),
        payment_id=dispute.payment_id,
        provider_dispute_id=dispute.provider_id,
        amount=money_message(dispute.currency, dispute.amount),
        status=DISPUTE_STATUSES[dispute.status],
        reason=dispute.reason,
        create_time=timestamp(dispute.create_time),
        update_time=timestamp(dispute.update_time),
    )


def outside_refund_message(outside: OutsideRefund) -> purchase_pb2.OutsideRefund:
    """Build the message of an outside refund."""
    return purchase_pb2.OutsideRefund(
        refund_id=outside.refund_id,
        payment_id=outside.payment_id,
        amount=money_message(outside.currency, outside.amount),
        credited=money_message(outside.currency, outside.credited),
        by_dispute=outside.kind is OutsideRefundKind.DISPUTE,
        create_time=timestamp(outside.create_time),
        return_time=timestamp(outside.return_time),
    )


def read_dispute_query(request: pb.ListDisputesRequest) -> DisputeQuery:
    """Read the filter of a ListDisputesRequest."""
    fields = Fields(request)
    query = DisputeQuery(
        status=fields.optional_enum("status", DISPUTE_STATUSES), event_id=fields.optional_uuid("event_id")
    )
    fields.check()
    return query
