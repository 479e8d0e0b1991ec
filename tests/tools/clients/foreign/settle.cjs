// Makes and queries one settle with ByteDance's own SDK, whose address is fixed in its code: every
// request to it goes to the simulator instead. Prints what the SDK made of the answers.
//
//   node settle.cjs SIMULATOR_URL APP_ID SECRET

const http = require("node:http");
const https = require("node:https");

const [url, clientKey, clientSecret] = process.argv.slice(2);
const { hostname, port } = new URL(url);

https.request = (options, answered) => {
  if (![options.hostname, options.host].some((host) => host === "open.douyin.com")) {
    throw new Error(`a request to another host: ${options.hostname ?? options.host}`);
  }
  const redirected = { hostname, port, host: hostname, protocol: "http:", agent: http.globalAgent };
  return http.request({ ...options, ...redirected }, answered);
};

const { default: Credential } = require("@open-dy/open_api_credential");
const { default: Client, DeveloperSettleCreateRequest, DeveloperSettleQueryRequest } =
  require("@open-dy/open_api_sdk");

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function main() {
  const credential = new Credential({ clientKey, clientSecret });
  const { accessToken } = await credential.getClientToken();
  const client = new Client({});
  const wanted = {
    accessToken,
    appId: clientKey,
    outOrderNo: "order-node",
    outSettleNo: "node-1",
    settleDesc: "store share",
    settleParams: JSON.stringify([{ merchant_uid: "72789245768543296350", amount: 400 }]),
    ext: "ours",
  };
  const create = () => client.developerSettleCreate(new DeveloperSettleCreateRequest(wanted));
  const query = () => client.developerSettleQuery(
    new DeveloperSettleQueryRequest({ accessToken, appId: clientKey, outSettleNo: "node-1" }));
  const created = await create();
  let found;
  do {
    await pause(100);
    found = await query();
  } while (found.data[0].settleStatus !== "SUCCESS");
  const repeated = await create().then(() => "accepted", (error) => String(error));
  const plain = (of) => of.toMap();
  console.log(JSON.stringify({
    created: plain(created.data), found: found.data.map(plain), repeated,
  }));
}

main();
