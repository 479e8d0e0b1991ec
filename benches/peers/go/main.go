// The bare translator in Go: grpc-go in front, net/http behind, the gateway's contract, nothing kept.
//
//	peer UPSTREAM_URL
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	settlement "example.com/settlement-gateway/gen/douyin/settlement/v1"
)

const createPath = "/api/trade_basic/v1/developer/settle_create/"

type peer struct {
	settlement.UnimplementedSettlementServiceServer
	client *http.Client
	url    string
}

type createBody struct {
	AppID        string `json:"app_id"`
	OutOrderNo   string `json:"out_order_no"`
	OutSettleNo  string `json:"out_settle_no"`
	SettleDesc   string `json:"settle_desc"`
	SettleParams string `json:"settle_params"`
}

type receiver struct {
	MerchantUID string `json:"merchant_uid"`
	Amount      int64  `json:"amount"`
}

type answer struct {
	ErrNo  int64  `json:"err_no"`
	ErrMsg string `json:"err_msg"`
	Data   struct {
		SettleID       string `json:"settle_id"`
		WalletSettleID string `json:"wallet_settle_id"`
	} `json:"data"`
}

func (it *peer) create(ctx context.Context, settle *settlement.CreateSettleRequest) (*answer, error) {
	receivers := make([]receiver, 0, len(settle.SettleParams))
	for _, param := range settle.SettleParams {
		receivers = append(receivers, receiver{param.MerchantUid, param.AmountFen})
	}
	params, err := json.Marshal(receivers)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(createBody{
		settle.AppId, settle.OutOrderNo, settle.OutSettleNo, settle.SettleDesc, string(params),
	})
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, it.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("access-token", "clt.bench")
	response, err := it.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	told := new(answer)
	if err := json.Unmarshal(content, told); err != nil {
		return nil, err
	}
	if told.ErrNo != 0 {
		return nil, fmt.Errorf("%d: %s", told.ErrNo, told.ErrMsg)
	}
	return told, nil
}

func (it *peer) CreateSettle(
	ctx context.Context, request *settlement.CreateSettleRequest,
) (*settlement.CreateSettleResponse, error) {
	told, err := it.create(ctx, request)
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	return &settlement.CreateSettleResponse{Settle: &settlement.Settle{
		AppId:          request.AppId,
		OutSettleNo:    request.OutSettleNo,
		OutOrderNo:     &request.OutOrderNo,
		SettleDesc:     &request.SettleDesc,
		SettleParams:   request.SettleParams,
		State:          settlement.SettleState_SETTLE_STATE_PROCESSING,
		SettleId:       &told.Data.SettleID,
		WalletSettleId: &told.Data.WalletSettleID,
	}}, nil
}

func main() {
	transport := &http.Transport{MaxIdleConns: 1024, MaxIdleConnsPerHost: 1024}
	client := &http.Client{Transport: transport, Timeout: 5 * time.Second}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("gRPC", listener.Addr())
	server := grpc.NewServer()
	settlement.RegisterSettlementServiceServer(server, &peer{client: client, url: os.Args[1] + createPath})
	if err := server.Serve(listener); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
