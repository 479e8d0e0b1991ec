import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.google.protobuf.Any;
import com.google.protobuf.Message;
import com.google.protobuf.util.JsonFormat;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.Help;
import com.google.rpc.LocalizedMessage;
import com.google.rpc.PreconditionFailure;
import com.google.rpc.QuotaFailure;
import com.google.rpc.RequestInfo;
import com.google.rpc.ResourceInfo;
import com.google.rpc.RetryInfo;
import douyin.settlement.v1.DouyinError;
import douyin.settlement.v1.SettlementServiceGrpc;
import io.grpc.CallOptions;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.ClientCalls;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Base64;
import java.util.List;
import java.util.concurrent.TimeUnit;

/** The calls of ../../clients.py with grpc-java; StatusProto decodes. See ../README.md. */
public final class Client {
    private static final int CALL_SECONDS_MAX = 30;
    private static final Metadata.Key<byte[]> TRAILER =
            Metadata.Key.of("grpc-status-details-bin", Metadata.BINARY_BYTE_MARSHALLER);
    private static final List<Class<? extends Message>> KNOWN = List.of(
            BadRequest.class, DouyinError.class, ErrorInfo.class, Help.class,
            LocalizedMessage.class, PreconditionFailure.class, QuotaFailure.class,
            RequestInfo.class, ResourceInfo.class, RetryInfo.class);

    private Client() {}

    @SuppressWarnings("unchecked")
    private static MethodDescriptor<Message, Message> method(String rpc) {
        return (MethodDescriptor<Message, Message>)
                SettlementServiceGrpc.getServiceDescriptor().getMethods().stream()
                        .filter(method -> method.getBareMethodName().equals(rpc))
                        .findFirst()
                        .orElseThrow();
    }

    /** The error of one call, whose answers, if there are any, are dropped. */
    private static StatusRuntimeException error(ManagedChannel channel, JsonObject call)
            throws Exception {
        String rpc = call.get("rpc").getAsString();
        MethodDescriptor<Message, Message> method = method(rpc);
        var marshaller =
                (MethodDescriptor.PrototypeMarshaller<Message>) method.getRequestMarshaller();
        Message.Builder request = marshaller.getMessagePrototype().newBuilderForType();
        JsonFormat.parser().merge(call.get("request").toString(), request);
        CallOptions options =
                CallOptions.DEFAULT.withDeadlineAfter(CALL_SECONDS_MAX, TimeUnit.SECONDS);
        try {
            if (method.getType() == MethodDescriptor.MethodType.UNARY) {
                ClientCalls.blockingUnaryCall(channel, method, options, request.build());
            } else {
                ClientCalls.blockingServerStreamingCall(channel, method, options, request.build())
                        .forEachRemaining(answer -> {});
            }
        } catch (StatusRuntimeException problem) {
            return problem;
        }
        throw new IllegalStateException(rpc + " succeeded");
    }

    private static JsonElement decoded(Any detail) throws Exception {
        for (Class<? extends Message> type : KNOWN) {
            if (detail.is(type)) {
                JsonObject fields = JsonParser.parseString(
                        JsonFormat.printer().print(detail.unpack(type))).getAsJsonObject();
                fields.addProperty("@type", detail.getTypeUrl());
                return fields;
            }
        }
        throw new IllegalStateException("not known: " + detail.getTypeUrl());
    }

    public static void main(String[] arguments) throws Exception {
        PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        ManagedChannel channel =
                ManagedChannelBuilder.forTarget(arguments[0]).usePlaintext().build();
        String calls = Files.readString(Path.of(arguments[1]));
        for (JsonElement call : JsonParser.parseString(calls).getAsJsonArray()) {
            StatusRuntimeException problem = error(channel, call.getAsJsonObject());
            byte[] bytes = problem.getTrailers().get(TRAILER);
            JsonArray details = new JsonArray();
            for (Any detail : StatusProto.fromThrowable(problem).getDetailsList()) {
                details.add(decoded(detail));
            }
            JsonObject seen = new JsonObject();
            seen.addProperty("code", problem.getStatus().getCode().value());
            seen.addProperty("message", problem.getStatus().getDescription());
            seen.addProperty("status", Base64.getEncoder().encodeToString(bytes));
            seen.add("details", details);
            out.println(seen);
        }
        channel.shutdownNow();
    }
}
