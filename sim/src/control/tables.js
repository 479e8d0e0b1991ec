// Settles, orders and callbacks as rows. Every text goes into the page as text, never as markup.

// An element with a class and content; the class may be empty.
export function made(name, className, ...content) {
  const node = document.createElement(name);
  if (className) {
    node.className = className;
  }
  node.append(...content);
  return node;
}

export function button(text, action) {
  const node = made("button", "", text);
  node.type = "button";
  node.onclick = action;
  return node;
}

// In China, where Douyin counts its days.
export const time = (ms) => new Date(ms).toLocaleString("sv", { timeZone: "Asia/Shanghai" });

const grouped = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, ",");

// 100000 fen are ¥1,000.00.
export function yuan(fen) {
  const all = Math.abs(fen);
  const cents = String(all % 100).padStart(2, "0");
  return `${fen < 0 ? "-" : ""}¥${grouped(Math.trunc(all / 100))}.${cents}`;
}

const fen = (amount) => `${amount < 0 ? "-" : ""}${grouped(Math.abs(amount))} fen`;

const amount = (of) =>
  made("td", "amount", made("div", "", yuan(of)), made("div", "minor", fen(of)));

const number = (text) => made("span", "number", text);

const named = (name, text) => made("div", "minor", `${name} `, number(text));

const badge = (word) => made("span", `badge ${word.toLowerCase()}`, word);

function settle(it, post) {
  const name = made("td", "",
    made("div", "", number(it.out_settle_no)), named("order", it.out_order_no));
  if (it.item_order_id !== null) {
    name.append(named("item", it.item_order_id));
  }
  name.append(named("settle_id", it.settle_id), named("system", it.system));
  if (!it.by_gateway) {
    name.append(made("div", "minor", it.is_auto_settle ? "settled by Douyin itself" : "by another"));
  }

  const share = (who, of) =>
    made("tr", "", made("td", "", who), made("td", "amount", yuan(of)),
      made("td", "amount minor", fen(of)));
  const shares = it.settle_params.map((one) => share(number(one.merchant_uid), one.amount_fen));
  shares.push(share("Douyin's fee", it.rake_fen));
  if (it.commission_fen > 0) {
    shares.push(share("the promotion", it.commission_fen));
  }
  shares.push(share("the seller, the rest", it.seller_fen));
  const whole = share("in all", it.amount_fen);
  whole.className = "whole";
  const shared = made("table", it.status === "FAIL" ? "shares void" : "shares",
    made("tbody", "", ...shares, whole));

  const status = made("td", "", badge(it.status),
    made("div", "minor", `accepted ${time(it.accepted_at_ms)}`));
  if (it.finished_at_ms === null) {
    const end = (word) => button(word, () =>
      post("/sim/finish", { settle_id: it.settle_id, status: word }));
    status.append(made("div", "buttons", "End it:", end("SUCCESS"), end("FAIL")));
  } else {
    status.append(made("div", "minor", `ended ${time(it.finished_at_ms)}`));
  }
  return [name, status, made("td", "", shared)];
}

function order(it, edit) {
  const name = made("td", "",
    made("div", "", number(it.out_order_no)), named("order_id", it.order_id));
  const state = made("td", "", made("div", "", it.setup.items === null
    ? it.setup.stage : `${it.setup.items.length} items`));
  if (it.setup.promotion === "cps") {
    state.append(made("div", "minor", "sold by CPS"));
  }
  if (it.paid_at_ms !== null) {
    state.append(made("div", "minor", `paid ${time(it.paid_at_ms)}`));
  }
  if (it.due_next_at_ms !== null) {
    state.append(made("div", "minor", `due ${time(it.due_next_at_ms)}`));
  }
  // An order is usually in one system only.
  const systems = it.in_systems;
  const inEach = (cells) => systems.map((one, nth) =>
    made("div", "", ...(systems.length > 1 ? [made("div", "minor", one.system)] : []), ...cells[nth]));
  const left = made("td", "amount", ...inEach(systems.map((one) =>
    [made("div", "", yuan(one.left_fen)), made("div", "minor", fen(one.left_fen))])));
  const whole = made("td", "", ...inEach(systems.map((one) => one.whole_err_no === 0
    ? ["accepted"]
    : [made("div", "", `refused: ${one.whole_err_no}`),
      made("div", "minor prose", one.whole_err_msg)])));
  return [name, amount(it.setup.total_fen), left, state, whole,
    made("td", "", button("Change", () => edit(it)))];
}

function standing(state) {
  if (state === "sending") {
    return ["sent, no answer yet"];
  }
  if (state === "given-up") {
    return ["given up"];
  }
  return state.acknowledged
    ? ["acknowledged", time(state.acknowledged.at_ms)]
    : ["next attempt", time(state.waiting.next_at_ms)];
}

function outcome(of) {
  if (of === "acknowledged") {
    return "acknowledged";
  }
  if (of === "pending") {
    return "no answer yet";
  }
  return of.refused
    ? `answered ${of.refused.status} ${of.refused.text}`
    : of.unanswered;
}

function callback(it) {
  const about = made("td", "");
  if (it.settle_id === "") {
    about.append("forged");
  } else {
    about.append(made("div", "", number(it.out_settle_no)), named("settle_id", it.settle_id),
      named("system", it.system));
  }
  const [stands, at] = standing(it.state);
  const state = made("td", "", made("div", "", stands));
  if (at) {
    state.append(made("div", "minor", at));
  }
  const attempts = it.attempts.map((one) => made("li", "prose",
    `${time(one.at_ms)} ${outcome(one.outcome)}${one.fault ? ` (fault: ${one.fault})` : ""}`));
  const last = it.attempts.at(-1);
  const count = `${it.attempts.length} ${it.attempts.length === 1 ? "attempt" : "attempts"}`;
  const folded = made("details", "",
    made("summary", "", last ? `${count}, the last: ${outcome(last.outcome)}` : count),
    made("ol", "", ...attempts),
    ...(last ? [named("to", last.url)] : []),
    made("pre", "", it.body));
  return [about, made("td", "", it.status === null ? "" : badge(it.status)), state,
    made("td", "", folded)];
}

// Makes the rows of a table what the books have. A row that stays the same is not touched, so that
// what is folded, selected or focused stays so.
function rows(section, things, key, cells, caption) {
  const table = section.querySelector("table");
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);
  const keys = new Set(things.map((thing) => String(key(thing))));
  for (const row of [...body.rows]) {
    if (!keys.has(row.dataset.key)) {
      row.remove();
    }
  }
  const old = new Map([...body.rows].map((row) => [row.dataset.key, row]));
  things.forEach((thing, place) => {
    const name = String(key(thing));
    const row = old.get(name) ?? made("tr");
    const said = JSON.stringify(thing);
    if (row.said !== said) {
      const open = [...row.querySelectorAll("details")].map((folded) => folded.open);
      row.replaceChildren(...cells(thing));
      // Where there is no room for heads, each cell has its own.
      [...row.cells].forEach((cell, nth) => { cell.dataset.head = heads[nth]; });
      row.querySelectorAll("details").forEach((folded, nth) => {
        folded.open = open[nth] ?? false;
      });
      row.dataset.key = name;
      row.said = said;
    }
    if (body.rows[place] !== row) {
      body.insertBefore(row, body.rows[place] ?? null);
    }
  });
  table.hidden = things.length === 0;
  section.querySelector("p").textContent = caption;
}

// How many of how many are shown.
function shown(books, what, find, empty) {
  const [count, found] = [books[what].length, books[`${what}_found`]];
  const total = books[`${what}_total`];
  if (total === 0) {
    return empty;
  }
  if (find === "") {
    return count < total ? `the newest ${count} of ${grouped(total)}` : "";
  }
  const these = count < found ? `the newest ${count} of ${grouped(found)}` : grouped(found);
  return `${these} with “${find}”, of ${grouped(total)}`;
}

// Shows what the books have of a text that was looked for. Changes go to `post`, an order that is
// to be changed to `edit`.
export function showTables(books, find, post, edit) {
  const section = (what) => document.getElementById(what);
  for (const what of ["settles", "orders", "callbacks"]) {
    document.getElementById(`${what}-total`).textContent = grouped(books[`${what}_total`]);
  }
  rows(section("settles"), books.settles, (it) => it.settle_id, (it) => settle(it, post),
    shown(books, "settles", find,
      "None yet. Make one with the command that the gateway's sandbox prints."));
  rows(section("orders"), books.orders, (it) => it.order_id, (it) => order(it, edit),
    shown(books, "orders", find, "None yet. An order is here once a create names it."));
  rows(section("callbacks"), books.callbacks, (it) => it.id, callback,
    shown(books, "callbacks", find, "None yet. One goes out when a settle ends."));
}
