"use strict";
// The calls of ../../clients.py with @grpc/grpc-js, which leaves the details as bytes: they are
// decoded with the protos that @grpc/proto-loader reads from the folder that PROTO names.
// See ../README.md.

const fs = require("fs");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const CALL_MS_MAX = 30_000;

const definition = loader.loadSync(
  [
    "douyin/settlement/v1/settlement.proto",
    "google/rpc/status.proto",
    "google/rpc/error_details.proto",
  ],
  { includeDirs: [process.env.PROTO], longs: String, enums: String },
);
const { SettlementService } = grpc.loadPackageDefinition(definition).douyin.settlement.v1;

// The error of one call, whose answers, if there are any, are dropped.
function error(client, { rpc, request }) {
  return new Promise((resolve, reject) => {
    const options = { deadline: Date.now() + CALL_MS_MAX };
    const succeeded = () => reject(new Error(`${rpc} succeeded`));
    if (SettlementService.service[rpc].responseStream) {
      const stream = client[rpc](request, options);
      stream.on("data", () => {}).on("error", resolve).on("end", succeeded);
    } else {
      client[rpc](request, options, (problem) => (problem ? resolve(problem) : succeeded()));
    }
  });
}

function decoded({ type_url, typeUrl = type_url, value }) {
  const message = definition[typeUrl.split("/").pop()].deserialize(value);
  if (message.retryDelay) message.retryDelay = duration(message.retryDelay);
  return { "@type": typeUrl, ...message };
}

// As protobuf's JSON has it: with as many digits in threes as there are.
function duration({ seconds = 0, nanos = 0 }) {
  const digits = String(nanos).padStart(9, "0").replace(/(000)+$/, "");
  return digits ? `${seconds}.${digits}s` : `${seconds}s`;
}

async function main(address, calls) {
  const client = new SettlementService(address, grpc.credentials.createInsecure());
  for (const call of JSON.parse(fs.readFileSync(calls, "utf8"))) {
    const { code, details: message, metadata } = await error(client, call);
    const [bytes, ...more] = metadata.get("grpc-status-details-bin");
    if (more.length) throw new Error("more than one status");
    const details = definition["google.rpc.Status"].deserialize(bytes).details.map(decoded);
    console.log(JSON.stringify({ code, message, status: bytes.toString("base64"), details }));
  }
  client.close();
}

main(...process.argv.slice(2)).catch((problem) => {
  console.error(problem);
  process.exit(1);
});
