// Makes one payment and follows it to its end, with connect-node and generated code.
//
//   node pay.ts ADDRESS OUT_ORDER_NO OUT_SETTLE_NO
//
// GATEWAY_TOKEN is the caller's token, GATEWAY_CA the file of the authorities (without it: no TLS).

import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { create } from "@bufbuild/protobuf";
import { durationMs } from "@bufbuild/protobuf/wkt";
import { type Client, Code, ConnectError, createClient, type Interceptor } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import {
  type CreateSettleRequest,
  CreateSettleRequestSchema,
  Outcome,
  Retry,
  type Settle,
  SettleState,
  type SettlementFailure,
  SettlementFailureSchema,
  SettlementService,
} from "./gen/douyin/settlement/v1/settlement_pb.js";

const createMs = Number(process.env.CREATE_SECONDS ?? 25) * 1000;
type Gateway = Client<typeof SettlementService>;

// What an error says. One without details is made by a proxy or a library: nothing is known.
function failure(error: unknown): SettlementFailure {
  const [told] = ConnectError.from(error).findDetails(SettlementFailureSchema);
  const nothing = { outcome: Outcome.UNKNOWN, retry: Retry.NOW, retryDelay: { seconds: 1n } };
  return told ?? create(SettlementFailureSchema, nothing);
}

const delayMs = (told: SettlementFailure) => (told.retryDelay ? durationMs(told.retryDelay) : 5000);

// The settle in its final state. Every repeat has the same number, which is stored already.
async function pay(gateway: Gateway, request: CreateSettleRequest): Promise<Settle> {
  let settle: Settle;
  for (;;) {
    try {
      const created = await gateway.createSettle(request, { timeoutMs: createMs });
      settle = created.settle!;
      break;
    } catch (error) {
      const told = failure(error);
      if (told.outcome === Outcome.REFUSED)
        throw new Error(`REFUSED ${told.reason}: another number may be taken`);
      if (told.outcome === Outcome.NOT_SENT && told.retry !== Retry.NOW)
        throw new Error(`NOT_SENT ${told.reason}: something must change, the number stays`);
      await sleep(delayMs(told));
    }
  }
  return follow(gateway, settle);
}

// Opens the stream again as often as it breaks. It ends without an error after the final state.
async function follow(gateway: Gateway, settle: Settle): Promise<Settle> {
  const { appId, outSettleNo } = settle;
  let afterRevision = settle.revision;
  for (;;) {
    const key = { case: "outSettleNo" as const, value: outSettleNo };
    try {
      const request = { appId, key, afterRevision };
      for await (const { event } of gateway.watchSettle(request, { timeoutMs: 300_000 }))
        if (event.case === "settle") ({ revision: afterRevision } = settle = event.value);
      return settle;
    } catch (error) {
      const told = failure(error);
      if (told.reason === "REVISION_FROM_FUTURE") afterRevision = 0n; // restored from a backup
      else if (told.retry !== Retry.NOW) throw error;
      await sleep(delayMs(told));
    }
  }
}

const [address, outOrderNo, outSettleNo] = process.argv.slice(2);
const { GATEWAY_TOKEN: token, GATEWAY_CA: authorities } = process.env;
const authorize: Interceptor = (next) => (request) => {
  request.header.set("authorization", `Bearer ${token}`);
  return next(request);
};
const gateway = createClient(
  SettlementService,
  createGrpcTransport({
    baseUrl: `${authorities ? "https" : "http"}://${address}`,
    nodeOptions: authorities ? { ca: readFileSync(authorities) } : {},
    interceptors: [authorize],
  }),
);
const settleParams = [{ merchantUid: "7278924576854329635", amountFen: 120n }];
const request = { outOrderNo, outSettleNo, settleDesc: "store share", settleParams };
const settle = await pay(gateway, create(CreateSettleRequestSchema, request));
console.log(SettleState[settle.state], settle.result?.settleAmountFen);
