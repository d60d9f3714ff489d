// Sell a ticket for which the shop has charged 25 EUR already, and read the reason if the service refuses.
// Run: node sell.js, with TICKETS_ADDRESS, SERVICE_TOKEN, EVENT_ID and QUANTITY set.
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";
import protobuf from "protobufjs";

const { TICKETS_ADDRESS, SERVICE_TOKEN, EVENT_ID, QUANTITY, PROTOS = "../../protos" } = process.env;
const SERVICE_CONFIG = process.env.SERVICE_CONFIG ?? "../../docs/api/service_config.json";

const contract = loader.loadSync("ticketing/tickets/v1/purchase_service.proto", { includeDirs: [PROTOS], enums: String });
const { PurchaseService } = grpc.loadPackageDefinition(contract).ticketing.tickets.v1;

// The details of a failure: google/rpc/status.proto and google/rpc/error_details.proto.
const { Status, ErrorInfo, RetryInfo } = protobuf.parse(`
  syntax = "proto3";
  message Any { string type_url = 1; bytes value = 2; }
  message Status { int32 code = 1; string message = 2; repeated Any details = 3; }
  message ErrorInfo { string reason = 1; string domain = 2; map<string, string> metadata = 3; }
  message RetryInfo { message Duration { int64 seconds = 1; int32 nanos = 2; } Duration retry_delay = 1; }
`, { keepCase: true }).root.nested;

function detailsOf(error) {
  const found = {};
  const [data] = error.metadata?.get("grpc-status-details-bin") ?? [];
  for (const { type_url, value } of data ? Status.decode(data).details : []) {
    if (type_url.endsWith("/google.rpc.ErrorInfo")) Object.assign(found, ErrorInfo.decode(value));
    if (type_url.endsWith("/google.rpc.RetryInfo")) {
      const { seconds, nanos } = RetryInfo.decode(value).retry_delay;
      found.retrySeconds = Math.ceil(Number(seconds) + nanos / 1e9);
    }
  }
  return found;
}

// The service config repeats calls whose repetition has no second effect, after the wait that the service states.
const options = { "grpc.service_config": readFileSync(SERVICE_CONFIG, "utf8") };
const client = new PurchaseService(TICKETS_ADDRESS, grpc.credentials.createInsecure(), options);
const metadata = new grpc.Metadata();
metadata.set("authorization", `Bearer ${SERVICE_TOKEN}`);
metadata.set("x-request-id", randomUUID());

// A repetition of the same request_id buys nothing more: keep the id until there is an answer.
const order = {
  requestId: randomUUID(),
  eventId: EVENT_ID,
  items: [{ ticketType: "TICKET_TYPE_STANDARD", quantity: Number(QUANTITY) }],
  externalPaymentId: `payment-${randomUUID()}`,
  expectedTotal: { currencyCode: "EUR", minorUnits: 25_00 * Number(QUANTITY) },
  userId: "bob",
};
client.PurchaseTickets(order, metadata, { deadline: Date.now() + 10_000 }, (error, response) => {
  client.close();
  if (!error) return console.log(response.purchase.tickets[0].code);
  const { reason = grpc.status[error.code], metadata: facts = {}, retrySeconds } = detailsOf(error);
  const unknown = [grpc.status.UNAVAILABLE, grpc.status.CANCELLED, grpc.status.DEADLINE_EXCEEDED].includes(error.code);
  const advice = unknown ? "send the same request again" : "waiting does not help";
  console.log(reason, JSON.stringify(facts), retrySeconds === undefined ? advice : `wait ${retrySeconds} s`);
  process.exitCode = 1;
});
