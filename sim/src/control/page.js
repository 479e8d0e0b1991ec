"use strict";
// Shows /sim/books, and posts changes. Every text goes into the page as text, never as markup.

const element = (id) => document.getElementById(id);

function made(name, ...content) {
  const node = document.createElement(name);
  node.append(...content);
  return node;
}

// In China, where Douyin counts its days.
const time = (ms) =>
  ms ? new Date(ms).toLocaleString("sv", { timeZone: "Asia/Shanghai" }) : "";

const brief = (value) =>
  value === null ? "" : typeof value === "object" ? JSON.stringify(value) : String(value);

// One row per thing; a column is its head and what it shows of a thing.
function table(id, things, columns) {
  const head = made("tr", ...columns.map(([name]) => made("th", name)));
  const rows = things.map((thing) =>
    made("tr", ...columns.map(([name, show]) => made("td", show ? show(thing) : brief(thing[name])))));
  element(id).replaceChildren(made("table", head, ...rows));
}

function fields(id, of) {
  table(id, Object.entries(of), [["name", ([name]) => name], ["value", ([, value]) => brief(value)]]);
}

function ends(settle) {
  const buttons = ["SUCCESS", "FAIL"].map((status) => {
    const button = made("button", status);
    button.onclick = () => post("/sim/finish", { settle_id: settle.settle_id, status });
    return button;
  });
  return made("span", ...(settle.finished_at_ms === null ? buttons : []));
}

let examples = {};

function show(books) {
  const app_id = books.apps[0]?.app_id ?? "";
  const ahead = books.ahead_ms;
  element("clock").textContent = `${time(books.now_ms)} in China, ${ahead} ms ahead of real time. ` +
    `Seed ${books.seed}. ${books.settles_total} settles, ${books.callbacks_total} callbacks, ` +
    `${books.orders_total} orders; the newest of each:`;
  table("settles", books.settles, [
    ["out_settle_no"], ["settle_id"], ["out_order_no"], ["item_order_id"], ["amount_fen"],
    ["settle_params"], ["status"], ["accepted", (it) => time(it.accepted_at_ms)],
    ["finished", (it) => time(it.finished_at_ms)], ["end it", ends],
  ]);
  table("callbacks", books.callbacks, [
    ["out_settle_no"], ["status"], ["announced", (it) => time(it.announced_at_ms)],
    ["state"], ["attempts", (it) => String(it.attempts.length)],
    ["the last one", (it) => brief(it.attempts.at(-1)?.outcome ?? null)],
  ]);
  table("orders", books.orders, [
    ["app_id"], ["out_order_no"], ["setup"], ["left_fen"],
    ["paid", (it) => time(it.paid_at_ms)], ["next due", (it) => time(it.due_next_at_ms)],
    ["a settle of all now", (it) => (it.whole_err_no ? it.whole_err_msg : "accepted")],
  ]);
  table("apps", books.apps, [
    ["app_id"], ["rules"], ["callback_url"], ["tokens_fetched"], ["tokens_alive"],
  ]);
  fields("faults", books.faults);
  fields("choices", books.choices);
  examples = {
    "/sim/clock": { advance_days: 1 },
    "/sim/faults": { ...books.faults, create: { "apply-then": "drop" } },
    "/sim/choices": { number_check: "after-rules" },
    "/sim/orders": {
      app_id, out_order_no: "o-1",
      order: { stage: "paid", total_fen: 100000, promotion: "none", items: null },
    },
    "/sim/apps": {
      app_id, callback_url: books.apps[0]?.callback_url ?? "", rules: books.apps[0]?.rules,
    },
  };
}

async function answered(response) {
  const text = await response.text();
  element("problem").textContent = response.ok ? "" : text;
  if (response.ok) {
    show(JSON.parse(text));
  }
}

async function post(path, change) {
  const body = typeof change === "string" ? change : JSON.stringify(change);
  await answered(await fetch(path, { method: "POST", body }));
}

function example() {
  element("body").value = JSON.stringify(examples[element("what").value], null, 2);
}

element("what").onchange = example;
element("change").onsubmit = (event) => {
  event.preventDefault();
  post(element("what").value, element("body").value);
};
fetch("/sim/books").then(answered).then(() => {
  element("what").append(...Object.keys(examples).map((path) => made("option", path)));
  example();
});
setInterval(async () => {
  const response = await fetch("/sim/books").catch(() => null);
  if (response?.ok) {
    show(await response.json());
  }
}, 2000);
