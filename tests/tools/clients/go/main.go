// The calls of ../../clients.py with grpc-go; status.Details() decodes. See ../README.md.
package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"time"

	protov1 "github.com/golang/protobuf/proto"
	_ "google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	settlement "douyin/settlement/v1"
)

const callTime = 30 * time.Second

type call struct {
	RPC     string          `json:"rpc"`
	Request json.RawMessage `json:"request"`
}

type seen struct {
	Code    uint32           `json:"code"`
	Message string           `json:"message"`
	Status  string           `json:"status"`
	Details []map[string]any `json:"details"`
}

func must(problem error) {
	if problem != nil {
		fmt.Fprintln(os.Stderr, problem)
		os.Exit(1)
	}
}

func message(described protoreflect.MessageDescriptor) proto.Message {
	found, problem := protoregistry.GlobalTypes.FindMessageByName(described.FullName())
	must(problem)
	return found.New().Interface()
}

// failure is the error of one call, whose answers, if there are any, are dropped.
func (it call) failure(connection *grpc.ClientConn) error {
	service := settlement.File_douyin_settlement_v1_settlement_proto.Services().Get(0)
	method := service.Methods().ByName(protoreflect.Name(it.RPC))
	request := message(method.Input())
	must(protojson.Unmarshal(it.Request, request))

	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	path := fmt.Sprintf("/%s/%s", service.FullName(), it.RPC)
	if !method.IsStreamingServer() {
		return connection.Invoke(ctx, path, request, message(method.Output()))
	}
	stream, problem := connection.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, path)
	must(problem)
	must(stream.SendMsg(request))
	must(stream.CloseSend())
	for problem == nil {
		problem = stream.RecvMsg(message(method.Output()))
	}
	return problem
}

// decoded is a detail as JSON. Details() has an error in place of one that it cannot decode, and
// messages of the older kind where the package of their type is older.
func decoded(detail any) map[string]any {
	if problem, undecoded := detail.(error); undecoded {
		must(problem)
	}
	read := protov1.MessageV2(detail)
	text, problem := protojson.Marshal(read)
	must(problem)
	var fields map[string]any
	must(json.Unmarshal(text, &fields))
	fields["@type"] = "type.googleapis.com/" + string(read.ProtoReflect().Descriptor().FullName())
	return fields
}

func main() {
	text, problem := os.ReadFile(os.Args[2])
	must(problem)
	var calls []call
	must(json.Unmarshal(text, &calls))
	connection, problem := grpc.Dial(os.Args[1], grpc.WithInsecure())
	must(problem)
	defer connection.Close()

	for _, it := range calls {
		told, ok := status.FromError(it.failure(connection))
		if !ok || told.Err() == nil {
			must(fmt.Errorf("%s succeeded, or has no status: %v", it.RPC, told))
		}
		bytes, problem := protov1.Marshal(told.Proto())
		must(problem)
		one := seen{
			Code:    uint32(told.Code()),
			Message: told.Message(),
			Status:  base64.StdEncoding.EncodeToString(bytes),
		}
		for _, detail := range told.Details() {
			one.Details = append(one.Details, decoded(detail))
		}
		must(json.NewEncoder(os.Stdout).Encode(one))
	}
}
