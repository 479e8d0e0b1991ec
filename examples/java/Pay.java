import com.google.gson.Gson;
import com.google.protobuf.Any;
import com.google.protobuf.util.Durations;
import douyin.settlement.v1.CreateSettleRequest;
import douyin.settlement.v1.Outcome;
import douyin.settlement.v1.Retry;
import douyin.settlement.v1.Settle;
import douyin.settlement.v1.SettleParam;
import douyin.settlement.v1.SettlementFailure;
import douyin.settlement.v1.SettlementServiceGrpc;
import douyin.settlement.v1.SettlementServiceGrpc.SettlementServiceBlockingStub;
import douyin.settlement.v1.WatchSettleRequest;
import douyin.settlement.v1.WatchSettleResponse;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.StatusRuntimeException;
import io.grpc.netty.GrpcSslContexts;
import io.grpc.netty.NettyChannelBuilder;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.MetadataUtils;
import java.io.File;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Iterator;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/**
 * Makes one payment and follows it to its end.
 *
 * <p>java Pay ADDRESS OUT_ORDER_NO OUT_SETTLE_NO. GATEWAY_TOKEN is the caller's token, GATEWAY_CA the
 * file of the authorities (without it: no TLS), SERVICE_CONFIG the published service config.
 */
public final class Pay {
    static final long CREATE_SECONDS =
            Long.parseLong(System.getenv().getOrDefault("CREATE_SECONDS", "25"));

    /** What an error says. One without details is made by a proxy or a library: nothing is known. */
    static SettlementFailure failure(StatusRuntimeException error) throws Exception {
        var status = StatusProto.fromThrowable(error);
        for (Any detail : status.getDetailsList()) {
            if (detail.is(SettlementFailure.class)) {
                return detail.unpack(SettlementFailure.class);
            }
        }
        return SettlementFailure.newBuilder()
                .setOutcome(Outcome.OUTCOME_UNKNOWN).setRetry(Retry.RETRY_NOW)
                .setRetryDelay(Durations.fromSeconds(1)).build();
    }

    /** The settle in its final state. Every repeat has the same number, which is stored already. */
    static Settle pay(SettlementServiceBlockingStub stub, CreateSettleRequest request)
            throws Exception {
        while (true) {
            SettlementFailure told;
            try {
                var limited = stub.withDeadlineAfter(CREATE_SECONDS, TimeUnit.SECONDS);
                var created = limited.createSettle(request);
                return follow(stub, created.getSettle());
            } catch (StatusRuntimeException error) {
                told = failure(error);
            }
            if (told.getOutcome() == Outcome.OUTCOME_REFUSED) {
                throw new IllegalStateException(
                        "REFUSED " + told.getReason() + ": another number may be taken");
            }
            if (told.getOutcome() == Outcome.OUTCOME_NOT_SENT
                    && told.getRetry() != Retry.RETRY_NOW) {
                throw new IllegalStateException("NOT_SENT " + told.getReason()
                        + ": something must change, the number stays");
            }
            Thread.sleep(delayMs(told));
        }
    }

    /** Opens the stream again as often as it breaks. OK ends it, after the final state. */
    static Settle follow(SettlementServiceBlockingStub stub, Settle settle) throws Exception {
        var request = WatchSettleRequest.newBuilder().setAppId(settle.getAppId())
                .setOutSettleNo(settle.getOutSettleNo()).setAfterRevision(settle.getRevision());
        while (true) {
            SettlementFailure told;
            try {
                Iterator<WatchSettleResponse> events =
                        stub.withDeadlineAfter(5, TimeUnit.MINUTES).watchSettle(request.build());
                while (events.hasNext()) {
                    WatchSettleResponse event = events.next();
                    if (event.hasSettle()) {
                        settle = event.getSettle();
                        request.setAfterRevision(settle.getRevision());
                    }
                }
                return settle;
            } catch (StatusRuntimeException error) {
                told = failure(error);
            }
            if (told.getReason().equals("REVISION_FROM_FUTURE")) { // restored from a backup
                request.setAfterRevision(0);
            } else if (told.getRetry() != Retry.RETRY_NOW) {
                throw new IllegalStateException("UNKNOWN " + told.getReason());
            }
            Thread.sleep(delayMs(told));
        }
    }

    static long delayMs(SettlementFailure told) {
        return told.hasRetryDelay() ? Durations.toMillis(told.getRetryDelay()) : 5_000;
    }

    public static void main(String[] arguments) throws Exception {
        String config = Files.readString(Path.of(System.getenv("SERVICE_CONFIG")));
        var builder = NettyChannelBuilder.forTarget(arguments[0])
                .defaultServiceConfig(new Gson().<Map<String, Object>>fromJson(config, Map.class));
        String authorities = System.getenv("GATEWAY_CA");
        if (authorities == null) {
            builder.usePlaintext();
        } else {
            builder.sslContext(
                    GrpcSslContexts.forClient().trustManager(new File(authorities)).build());
        }
        ManagedChannel channel = builder.build();
        var authorized = new Metadata();
        authorized.put(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER),
                "Bearer " + System.getenv("GATEWAY_TOKEN"));
        var stub = SettlementServiceGrpc.newBlockingStub(channel)
                .withInterceptors(MetadataUtils.newAttachHeadersInterceptor(authorized));
        var request = CreateSettleRequest.newBuilder()
                .setOutOrderNo(arguments[1]).setOutSettleNo(arguments[2])
                .setSettleDesc("store share")
                .addSettleParams(SettleParam.newBuilder()
                        .setMerchantUid("7278924576854329635").setAmountFen(120))
                .build();
        try {
            Settle settle = pay(stub, request);
            System.out.println(settle.getState() + " " + settle.getResult().getSettleAmountFen());
        } catch (IllegalStateException problem) {
            System.err.println(problem.getMessage());
            System.exit(1);
        } finally {
            channel.shutdownNow();
        }
    }
}
