// Makes one payment and follows it to its end.
//
//   pay ADDRESS OUT_ORDER_NO OUT_SETTLE_NO
//
// GATEWAY_TOKEN is the caller's token, GATEWAY_CA the file of the authorities (without it: no TLS),
// SERVICE_CONFIG the published service config.

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>

#include <google/protobuf/util/time_util.h>
#include <grpcpp/grpcpp.h>

#include "douyin/settlement/v1/settlement.grpc.pb.h"
#include "google/rpc/status.pb.h"

namespace pb = douyin::settlement::v1;
using google::protobuf::util::TimeUtil;
using Gateway = std::unique_ptr<pb::SettlementService::Stub>;

// What an error says. One without details is made by a proxy or a library: nothing is known.
pb::SettlementFailure failure(const grpc::Status& error) {
  pb::SettlementFailure told;
  google::rpc::Status status;
  if (status.ParseFromString(error.error_details()))
    for (const auto& detail : status.details())
      if (detail.UnpackTo(&told)) return told;
  told.set_outcome(pb::OUTCOME_UNKNOWN);
  told.set_retry(pb::RETRY_NOW);
  *told.mutable_retry_delay() = TimeUtil::SecondsToDuration(1);
  return told;
}

void pause(const pb::SettlementFailure& told) {
  auto ms = told.has_retry_delay() ? TimeUtil::DurationToMilliseconds(told.retry_delay()) : 5000;
  std::this_thread::sleep_for(std::chrono::milliseconds(ms));
}

void prepare(grpc::ClientContext& context, std::chrono::seconds time) {
  const char* token = std::getenv("GATEWAY_TOKEN");
  context.AddMetadata("authorization", std::string("Bearer ") + (token ? token : ""));
  context.set_deadline(std::chrono::system_clock::now() + time);
}

// Opens the stream again as often as it breaks. OK ends it, after the final state.
pb::Settle follow(const Gateway& gateway, pb::Settle settle) {
  pb::WatchSettleRequest request;
  request.set_app_id(settle.app_id());
  request.set_out_settle_no(settle.out_settle_no());
  request.set_after_revision(settle.revision());
  for (;;) {
    grpc::ClientContext context;
    prepare(context, std::chrono::minutes(5));
    auto stream = gateway->WatchSettle(&context, request);
    pb::WatchSettleResponse event;
    while (stream->Read(&event))
      if (event.has_settle()) {
        settle = event.settle();
        request.set_after_revision(settle.revision());
      }
    grpc::Status error = stream->Finish();
    if (error.ok()) return settle;
    pb::SettlementFailure told = failure(error);
    if (told.reason() == "REVISION_FROM_FUTURE")  // the gateway was restored from a backup
      request.set_after_revision(0);
    else if (told.retry() != pb::RETRY_NOW)
      throw std::runtime_error("UNKNOWN " + told.reason());
    pause(told);
  }
}

// The settle in its final state. Every repeat has the same number, which is stored already.
pb::Settle pay(const Gateway& gateway, const pb::CreateSettleRequest& request) {
  for (;;) {
    grpc::ClientContext context;
    const char* seconds = std::getenv("CREATE_SECONDS");
    prepare(context, std::chrono::seconds(seconds ? std::atoi(seconds) : 25));
    pb::CreateSettleResponse created;
    grpc::Status error = gateway->CreateSettle(&context, request, &created);
    if (error.ok()) return follow(gateway, created.settle());
    pb::SettlementFailure told = failure(error);
    if (told.outcome() == pb::OUTCOME_REFUSED)
      throw std::runtime_error("REFUSED " + told.reason() + ": another number may be taken");
    if (told.outcome() == pb::OUTCOME_NOT_SENT && told.retry() != pb::RETRY_NOW)
      throw std::runtime_error("NOT_SENT " + told.reason() +
                               ": something must change, the number stays");
    pause(told);
  }
}

std::string read(const char* path) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

int main(int, char** arguments) {
  auto credentials = grpc::InsecureChannelCredentials();
  if (const char* authorities = std::getenv("GATEWAY_CA"))
    credentials = grpc::SslCredentials({read(authorities), "", ""});
  grpc::ChannelArguments options;
  options.SetServiceConfigJSON(read(std::getenv("SERVICE_CONFIG")));
  auto gateway = pb::SettlementService::NewStub(
      grpc::CreateCustomChannel(arguments[1], credentials, options));
  pb::CreateSettleRequest request;
  request.set_out_order_no(arguments[2]);
  request.set_out_settle_no(arguments[3]);
  request.set_settle_desc("store share");
  auto* receiver = request.add_settle_params();
  receiver->set_merchant_uid("7278924576854329635");
  receiver->set_amount_fen(120);
  try {
    pb::Settle settle = pay(gateway, request);
    std::cout << pb::SettleState_Name(settle.state()) << " "
              << settle.result().settle_amount_fen() << std::endl;
  } catch (const std::runtime_error& problem) {
    std::cerr << problem.what() << std::endl;
    return 1;
  }
}
