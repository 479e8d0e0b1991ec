// Makes one payment and follows it to its end.
//
//	pay ADDRESS OUT_ORDER_NO OUT_SETTLE_NO
//
// GATEWAY_TOKEN is the caller's token, GATEWAY_CA the file of the authorities (without it: no TLS),
// SERVICE_CONFIG the published service config.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	_ "google.golang.org/grpc/health" // so that the health check of the service config works
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	settlement "example.com/settlement-gateway/gen/douyin/settlement/v1"
)

// failure is what an error says. One without details is made by a proxy or a library: nothing is
// known.
func failure(err error) *settlement.SettlementFailure {
	for _, detail := range status.Convert(err).Details() {
		if told, ok := detail.(*settlement.SettlementFailure); ok {
			return told
		}
	}
	return &settlement.SettlementFailure{
		Outcome:    settlement.Outcome_OUTCOME_UNKNOWN,
		Retry:      settlement.Retry_RETRY_NOW,
		RetryDelay: durationpb.New(time.Second),
	}
}

// createTime is the deadline of each CreateSettle.
func createTime() time.Duration {
	if seconds, err := strconv.Atoi(os.Getenv("CREATE_SECONDS")); err == nil {
		return time.Duration(seconds) * time.Second
	}
	return 25 * time.Second
}

func delay(told *settlement.SettlementFailure) time.Duration {
	if told.RetryDelay == nil {
		return 5 * time.Second
	}
	return told.RetryDelay.AsDuration()
}

// pay returns the settle in its final state. Every repeat has the same number, which is stored
// already.
func pay(
	ctx context.Context, client settlement.SettlementServiceClient,
	request *settlement.CreateSettleRequest,
) (*settlement.Settle, error) {
	for {
		limited, cancel := context.WithTimeout(ctx, createTime())
		created, err := client.CreateSettle(limited, request)
		cancel()
		if err == nil {
			return follow(ctx, client, created.Settle)
		}
		told := failure(err)
		if told.Outcome == settlement.Outcome_OUTCOME_REFUSED {
			return nil, fmt.Errorf("REFUSED %s: another number may be taken", told.Reason)
		}
		if told.Outcome == settlement.Outcome_OUTCOME_NOT_SENT &&
			told.Retry != settlement.Retry_RETRY_NOW {
			const advice = "something must change, the number stays"
			return nil, fmt.Errorf("NOT_SENT %s: %s", told.Reason, advice)
		}
		time.Sleep(delay(told))
	}
}

// follow opens the stream again as often as it breaks. io.EOF ends it, after the final state.
func follow(
	ctx context.Context, client settlement.SettlementServiceClient, settle *settlement.Settle,
) (*settlement.Settle, error) {
	request := &settlement.WatchSettleRequest{
		AppId:         settle.AppId,
		Key:           &settlement.WatchSettleRequest_OutSettleNo{OutSettleNo: settle.OutSettleNo},
		AfterRevision: settle.Revision,
	}
	for {
		limited, cancel := context.WithTimeout(ctx, 5*time.Minute)
		stream, err := client.WatchSettle(limited, request)
		for err == nil {
			var event *settlement.WatchSettleResponse
			if event, err = stream.Recv(); event.GetSettle() != nil {
				settle, request.AfterRevision = event.GetSettle(), event.GetSettle().Revision
			}
		}
		cancel()
		if err == io.EOF {
			return settle, nil
		}
		told := failure(err)
		if told.Reason == "REVISION_FROM_FUTURE" { // the gateway was restored from a backup
			request.AfterRevision = 0
		} else if told.Retry != settlement.Retry_RETRY_NOW {
			return nil, fmt.Errorf("UNKNOWN %s", told.Reason)
		}
		time.Sleep(delay(told))
	}
}

func main() {
	log.SetFlags(0)
	config, err := os.ReadFile(os.Getenv("SERVICE_CONFIG"))
	check(err)
	// grpc.NewClient and insecure.NewCredentials in releases after 1.63.
	security := grpc.WithInsecure()
	if authorities := os.Getenv("GATEWAY_CA"); authorities != "" {
		tls, err := credentials.NewClientTLSFromFile(authorities, "")
		check(err)
		security = grpc.WithTransportCredentials(tls)
	}
	connection, err := grpc.Dial(
		os.Args[1], security, grpc.WithDefaultServiceConfig(string(config)),
	)
	check(err)
	defer connection.Close()
	bearer := "Bearer " + os.Getenv("GATEWAY_TOKEN")
	ctx := metadata.AppendToOutgoingContext(context.Background(), "authorization", bearer)
	settle, err := pay(ctx, settlement.NewSettlementServiceClient(connection),
		&settlement.CreateSettleRequest{
			OutOrderNo:  os.Args[2],
			OutSettleNo: os.Args[3],
			SettleDesc:  "store share",
			SettleParams: []*settlement.SettleParam{
				{MerchantUid: "7278924576854329635", AmountFen: 120},
			},
		})
	check(err)
	fmt.Println(settle.State, settle.Result.GetSettleAmountFen())
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
