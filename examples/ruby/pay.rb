# Makes one payment and follows it to its end.
#
#   ruby -I gen pay.rb ADDRESS OUT_ORDER_NO OUT_SETTLE_NO
#
# GATEWAY_TOKEN is the caller's token, GATEWAY_CA the file of the authorities (without it: no TLS).

require 'grpc'
require 'google/protobuf/well_known_types'
require 'douyin/settlement/v1/settlement_services_pb'

CREATE_SECONDS = Integer(ENV.fetch('CREATE_SECONDS', 25))
PB = Douyin::Settlement::V1
SERVICE_CONFIG = File.join(__dir__, '../../docs/service-config.json')
AUTHORIZED = { 'authorization' => "Bearer #{ENV['GATEWAY_TOKEN']}" }.freeze

# What an error says. One without details is made by a proxy or a library: nothing is known.
def failure(error)
  details = error.to_rpc_status&.details || []
  told = details.find { |detail| detail.is(PB::SettlementFailure) }
  return told.unpack(PB::SettlementFailure) if told

  second = Google::Protobuf::Duration.new(seconds: 1)
  PB::SettlementFailure.new(outcome: :OUTCOME_UNKNOWN, retry: :RETRY_NOW, retry_delay: second)
end

def pause(told)
  sleep(told.retry_delay ? told.retry_delay.to_f : 5)
end

# The settle in its final state. Every repeat has the same number, which is stored already.
def pay(stub, request)
  begin
    created = stub.create_settle(request, deadline: Time.now + CREATE_SECONDS, metadata: AUTHORIZED)
  rescue GRPC::BadStatus => e
    told = failure(e)
    abort "REFUSED #{told.reason}: another number may be taken" if told.outcome == :OUTCOME_REFUSED
    if told.outcome == :OUTCOME_NOT_SENT && told.retry != :RETRY_NOW
      abort "NOT_SENT #{told.reason}: something must change, the number stays"
    end
    pause(told)
    retry
  end
  follow(stub, created.settle)
end

# Opens the stream again as often as it breaks. It ends without an error after the final state.
def follow(stub, settle)
  request = PB::WatchSettleRequest.new(
    app_id: settle.app_id, out_settle_no: settle.out_settle_no, after_revision: settle.revision
  )
  begin
    events = stub.watch_settle(request, deadline: Time.now + 300, metadata: AUTHORIZED)
    events.each do |event|
      next unless event.settle

      settle = event.settle
      request.after_revision = settle.revision
    end
  rescue GRPC::BadStatus => e
    told = failure(e)
    if told.reason == 'REVISION_FROM_FUTURE' # the gateway was restored from a backup
      request.after_revision = 0
    elsif told.retry != :RETRY_NOW
      abort "UNKNOWN #{told.reason}"
    end
    pause(told)
    retry
  end
  settle
end

address, out_order_no, out_settle_no = ARGV
authorities = ENV['GATEWAY_CA']
security = :this_channel_is_insecure
security = GRPC::Core::ChannelCredentials.new(File.read(authorities)) if authorities
stub = PB::SettlementService::Stub.new(
  address, security, channel_args: { 'grpc.service_config' => File.read(SERVICE_CONFIG) }
)
request = PB::CreateSettleRequest.new(
  out_order_no: out_order_no, out_settle_no: out_settle_no, settle_desc: 'store share',
  settle_params: [PB::SettleParam.new(merchant_uid: '7278924576854329635', amount_fen: 120)]
)
settle = pay(stub, request)
puts "#{settle.state} #{settle.result&.settle_amount_fen}"
