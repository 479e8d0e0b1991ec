"use strict";
// Makes one payment and follows it to its end, with @grpc/grpc-js and no generated code.
//
//   node pay.js ADDRESS OUT_ORDER_NO OUT_SETTLE_NO
//
// GATEWAY_TOKEN is the caller's token, GATEWAY_CA the file of the authorities (without it: no TLS).

const fs = require("node:fs");
const path = require("node:path");
const { setTimeout: sleep } = require("node:timers/promises");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const ROOT = path.join(__dirname, "../..");
const protos = loader.loadSync(
  ["douyin/settlement/v1/settlement.proto", "google/rpc/status.proto"],
  { includeDirs: [path.join(ROOT, "proto")], longs: String, enums: String, defaults: true },
);
const { SettlementService } = grpc.loadPackageDefinition(protos).douyin.settlement.v1;
const CREATE_SECONDS = Number(process.env.CREATE_SECONDS ?? 25);
const NOTHING_KNOWN = { outcome: "OUTCOME_UNKNOWN", retry: "RETRY_NOW", reason: "" };
const authorized = new grpc.Metadata();
authorized.set("authorization", `Bearer ${process.env.GATEWAY_TOKEN}`);

// What an error says. One without details is made by a proxy or a library: nothing is known.
function failure(error) {
  const name = "douyin.settlement.v1.SettlementFailure";
  const [status] = error.metadata?.get("grpc-status-details-bin") ?? [];
  const details = status ? protos["google.rpc.Status"].deserialize(status).details : [];
  const detail = details.find(({ type_url, typeUrl = type_url }) => typeUrl.endsWith(`/${name}`));
  return detail ? protos[name].deserialize(detail.value) : NOTHING_KNOWN;
}

const delayMs = ({ retryDelay }) =>
  retryDelay ? Number(retryDelay.seconds) * 1000 + retryDelay.nanos / 1e6 : 1000;

// The settle in its final state. Every repeat has the same number, which is stored already.
async function pay(client, request) {
  for (;;) {
    const { created, error } = await new Promise((resolve) => {
      const options = { deadline: Date.now() + CREATE_SECONDS * 1000 };
      client.createSettle(request, authorized, options, (error, created) =>
        resolve({ created, error }),
      );
    });
    if (!error) return follow(client, created.settle);
    const told = failure(error);
    if (told.outcome === "OUTCOME_REFUSED")
      throw `REFUSED ${told.reason}: another number may be taken`;
    if (told.outcome === "OUTCOME_NOT_SENT" && told.retry !== "RETRY_NOW")
      throw `NOT_SENT ${told.reason}: something must change, the number stays`;
    await sleep(delayMs(told));
  }
}

// Opens the stream again as often as it breaks. It ends without an error after the final state.
async function follow(client, settle) {
  const { appId, outSettleNo } = settle;
  let afterRevision = settle.revision;
  for (;;) {
    const request = { appId, outSettleNo, afterRevision };
    const options = { deadline: Date.now() + 300_000 };
    try {
      for await (const event of client.watchSettle(request, authorized, options))
        if (event.settle) ({ revision: afterRevision } = settle = event.settle);
      return settle;
    } catch (error) {
      const told = failure(error);
      if (told.reason === "REVISION_FROM_FUTURE") afterRevision = 0; // restored from a backup
      else if (told.retry !== "RETRY_NOW") throw `UNKNOWN ${told.reason}`;
      await sleep(delayMs(told));
    }
  }
}

async function main(address, outOrderNo, outSettleNo) {
  const { GATEWAY_CA: authorities } = process.env;
  const credentials = authorities
    ? grpc.credentials.createSsl(fs.readFileSync(authorities))
    : grpc.credentials.createInsecure();
  const client = new SettlementService(address, credentials, {
    "grpc.service_config": fs.readFileSync(path.join(ROOT, "docs/service-config.json"), "utf8"),
  });
  const settleParams = [{ merchantUid: "7278924576854329635", amountFen: "120" }];
  const request = { outOrderNo, outSettleNo, settleDesc: "store share", settleParams };
  const settle = await pay(client, request);
  console.log(settle.state, settle.result.settleAmountFen);
  client.close();
}

main(...process.argv.slice(2)).catch((problem) => {
  console.error(problem);
  process.exit(1);
});
