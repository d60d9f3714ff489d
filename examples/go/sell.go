// Sell sells a ticket for which the shop has charged 25 EUR already, and reads the reason if the service refuses.
//
// docs/guide.md says how to generate the packages of the contract. TICKETS_ADDRESS, SERVICE_TOKEN, EVENT_ID, QUANTITY,
// REQUEST_ID and SERVICE_CONFIG are environment variables.
package main

import (
	"context"
	"fmt"
	"io/ioutil"
	"log"
	"math"
	"os"
	"strconv"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	tickets "ticketing/tickets/v1"
)

func main() {
	// The service config repeats calls whose repetition has no second effect, after the wait that the service states.
	// Versions of gRPC before 1.40 do so only with GRPC_GO_RETRY=on.
	config, err := ioutil.ReadFile(os.Getenv("SERVICE_CONFIG"))
	if err != nil {
		log.Fatal(err)
	}
	address := os.Getenv("TICKETS_ADDRESS")
	connection, err := grpc.Dial(address, grpc.WithInsecure(), grpc.WithDefaultServiceConfig(string(config)))
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()

	quantity, err := strconv.Atoi(os.Getenv("QUANTITY"))
	if err != nil {
		log.Fatal(err)
	}
	requestID := os.Getenv("REQUEST_ID")
	order := &tickets.PurchaseTicketsRequest{
		// A repetition of the same id buys nothing more: keep it until there is an answer.
		RequestId:     requestID,
		EventId:       os.Getenv("EVENT_ID"),
		Items:         []*tickets.PurchaseItem{{TicketType: tickets.TicketType_TICKET_TYPE_STANDARD, Quantity: int32(quantity)}},
		Payment:       &tickets.PurchaseTicketsRequest_ExternalPaymentId{ExternalPaymentId: "payment-" + requestID},
		ExpectedTotal: &tickets.Money{CurrencyCode: "EUR", MinorUnits: 2500 * int64(quantity)},
		UserId:        "bob",
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+os.Getenv("SERVICE_TOKEN"), "x-request-id", requestID)

	response, err := tickets.NewPurchaseServiceClient(connection).PurchaseTickets(ctx, order)
	if err == nil {
		fmt.Println(response.Purchase.Tickets[0].Code)
		return
	}
	failure := status.Convert(err)
	reason, wait := failure.Code().String(), "waiting does not help"
	switch failure.Code() {
	case codes.Unavailable, codes.Canceled, codes.DeadlineExceeded:
		wait = "send the same request again"
	}
	for _, detail := range failure.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			reason = fmt.Sprint(detail.Reason, " ", detail.Metadata)
		case *errdetails.RetryInfo:
			seconds := float64(detail.RetryDelay.Seconds) + float64(detail.RetryDelay.Nanos)/1e9
			wait = fmt.Sprint("wait ", math.Ceil(seconds), " s")
		}
	}
	fmt.Println(reason, wait)
	os.Exit(1)
}
