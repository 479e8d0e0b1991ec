// Makes one payment, as docs/calling.md shows it. See ../../README.md.
//
//	pay ADDRESS OUT_ORDER_NO OUT_SETTLE_NO
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	settlement "douyin/settlement/v1"
)

const (
	createTime = 25 * time.Second
	watchTime  = 5 * time.Minute
	pauseMax   = time.Minute
)

// failure is what an error says. One without details is made by a proxy or a client library.
type failure struct {
	reason, outcome, retry string
	wait                   time.Duration
}

func failureOf(err error) failure {
	told := failure{outcome: "unknown", retry: "now", wait: time.Second}
	for _, detail := range status.Convert(err).Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			told.reason = detail.Reason
			if outcome, ok := detail.Metadata["outcome"]; ok {
				told.outcome = outcome
			}
			if retry, ok := detail.Metadata["retry"]; ok {
				told.retry = retry
			}
		case *errdetails.RetryInfo:
			told.wait = detail.RetryDelay.AsDuration()
		}
	}
	return told
}

var (
	// Nothing of it is alive at Douyin: the payment may be made under another number.
	errRefused = errors.New("Refused")
	// This request was not sent, and a repeat would end the same way. The number stays.
	errNeedsChange = errors.New("NeedsChange")
)

// pay returns the settle in its final state.
func pay(
	client settlement.SettlementServiceClient, request *settlement.CreateSettleRequest,
) (*settlement.Settle, error) {
	for pause := time.Second; ; pause = min(2*pause, pauseMax) {
		ctx, cancel := context.WithTimeout(context.Background(), createTime)
		created, err := client.CreateSettle(ctx, request)
		cancel()
		if err == nil {
			var final *settlement.Settle
			final, err = follow(client, created.Settle)
			if err == nil {
				return final, nil
			}
		}
		told := failureOf(err)
		if told.outcome == "refused" {
			return nil, fmt.Errorf("%w %s", errRefused, told.reason)
		}
		if told.outcome == "not_sent" && told.retry != "now" {
			return nil, fmt.Errorf("%w %s", errNeedsChange, told.reason)
		}
		// "not_sent" or "unknown": the same request again, with the same number.
		time.Sleep(max(pause, told.wait))
	}
}

// follow returns the settle in its final state. It opens the stream again as often as it breaks.
func follow(
	client settlement.SettlementServiceClient, settle *settlement.Settle,
) (*settlement.Settle, error) {
	request := &settlement.WatchSettleRequest{
		AppId:         settle.AppId,
		Key:           &settlement.WatchSettleRequest_OutSettleNo{OutSettleNo: settle.OutSettleNo},
		AfterRevision: settle.Revision,
	}
	for {
		final, err := watch(client, request)
		if err == nil {
			return final, nil
		}
		told := failureOf(err)
		if told.reason == "REVISION_FROM_FUTURE" {
			request.AfterRevision = 0
		} else if told.retry != "now" {
			return nil, err
		}
		time.Sleep(told.wait)
	}
}

// watch reads one stream, and notes in the request the last revision that it brought.
func watch(
	client settlement.SettlementServiceClient, request *settlement.WatchSettleRequest,
) (*settlement.Settle, error) {
	ctx, cancel := context.WithTimeout(context.Background(), watchTime)
	defer cancel()
	stream, err := client.WatchSettle(ctx, request)
	if err != nil {
		return nil, err
	}
	var last *settlement.Settle
	for {
		event, err := stream.Recv()
		if err == io.EOF {
			// The stream ended with OK, so its last settle is final.
			return last, nil
		}
		if err != nil {
			return nil, err
		}
		if settle := event.GetSettle(); settle != nil {
			last, request.AfterRevision = settle, settle.Revision
		}
	}
}

// permitsAnotherNumber is about a final settle for which CreateSettle, with ACCEPTED, answered OK:
// it is ours.
func permitsAnotherNumber(settle *settlement.Settle) bool {
	endedWithoutPayment := settle.State == settlement.SettleState_SETTLE_STATE_FAILED ||
		settle.State == settlement.SettleState_SETTLE_STATE_REJECTED
	return endedWithoutPayment && settle.Contradiction == nil
}

func main() {
	// Newer releases of grpc-go: grpc.NewClient, and insecure.NewCredentials().
	connection, err := grpc.Dial(os.Args[1], grpc.WithInsecure())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer connection.Close()
	client := settlement.NewSettlementServiceClient(connection)
	settle, err := pay(client, &settlement.CreateSettleRequest{
		OutOrderNo: os.Args[2],
		// Stored durably, together with the payment, before this call.
		OutSettleNo: os.Args[3],
		SettleDesc:  "store share",
		SettleParams: []*settlement.SettleParam{
			{MerchantUid: "7278924576854329635", AmountFen: 120},
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(settle.State, settle.GetResult().GetSettleAmountFen(), permitsAnotherNumber(settle))
}
