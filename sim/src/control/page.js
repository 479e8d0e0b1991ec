// Shows /sim/books, again and again, and posts changes.

import { CHOICES, FAULTS, NOTHING_WRONG, WORDS } from "/sim/settings.js";
import { button, made, showTables, time, yuan } from "/sim/tables.js";

const REFRESH_MS = 1000;

const element = (id) => document.getElementById(id);
const text = (value) => JSON.stringify(value);

// What was shown last.
let books = null;
// Answers that are older than what is shown are not shown.
let asked = 0;
let answered = 0;
// Ends when every change is made or refused.
let changes = Promise.resolve();

function problem(sentence) {
  element("problem").hidden = sentence === "";
  element("problem").firstElementChild.textContent = sentence;
}

async function refresh() {
  const turn = ++asked;
  const find = element("find").value.trim();
  let answer;
  try {
    const response = await fetch(`/sim/books?find=${encodeURIComponent(find)}`);
    answer = await response.json();
  } catch {
    element("away").textContent = "The simulator does not answer. " +
      (books ? `This is how it was at ${time(books.now_ms)}.` : "");
    element("away").hidden = false;
    return;
  }
  element("away").hidden = true;
  if (turn > answered) {
    answered = turn;
    books = answer;
    show(find);
  }
}

// Posts a change once those before it are answered and shown, so that a person's last one is the
// last one to be made; a function makes the change then. Answers whether it was made. A refusal is
// shown, and begins with what was to be changed.
function post(path, change, what = "") {
  changes = changes.then(() => postNow(path, change, what));
  return changes;
}

async function postNow(path, change, what) {
  let refusal;
  try {
    const body = text(typeof change === "function" ? change() : change);
    const response = await fetch(path, { method: "POST", body });
    refusal = response.ok ? "" : await response.text();
  } catch {
    refusal = "The simulator does not answer; nothing was changed.";
  }
  problem(refusal === "" || what === "" ? refusal : `${what}: ${refusal}`);
  await refresh();
  return refusal === "";
}

// Gives a field the value that the books have. What a person has typed since it got the last one
// stays.
function keep(field, value) {
  const typed = field.kept !== undefined && field.value !== field.kept;
  field.kept = value;
  if (!typed) {
    field.value = value;
  }
}

// What was typed is done with: fields have what the books have.
function settled(...fields) {
  for (const field of fields) {
    field.value = field.kept ?? field.value;
  }
}

// Posts what was chosen in a field. Then it says what the books have, also if that was refused.
async function choose(field, path, change) {
  await post(path, change, field.name);
  settled(field);
}

// A select box whose values are JSON. A value that is none of its own is added.
function select(options) {
  const field = made("select", "", ...options.map(([name, value]) => {
    const option = made("option", "", name);
    option.value = text(value);
    return option;
  }));
  field.keep = (value) => {
    if (![...field.options].some((option) => option.value === text(value))) {
      const other = made("option", "", text(value));
      other.value = text(value);
      field.append(other);
    }
    keep(field, text(value));
  };
  return field;
}

const faultFields = {};

function makeFaults() {
  for (const [name, [label, options]] of Object.entries(FAULTS)) {
    const field = select(options);
    field.name = name;
    field.onchange = () => {
      const chosen = { [name]: JSON.parse(field.value) };
      choose(field, "/sim/faults", () => ({ ...books.faults, ...chosen }));
    };
    faultFields[name] = field;
    element(name === "token" ? "token" : "faults").append(made("label", "", `${label} `, field));
  }
  element("well").onclick = () => post("/sim/faults", NOTHING_WRONG);
  const { faults } = element("scripts").elements;
  element("scripts").onsubmit = async (event) => {
    event.preventDefault();
    const typed = json(faults.value);
    if (typed !== undefined && await post("/sim/faults", typed)) {
      settled(faults);
    }
  };
}

function showFaults() {
  let on = 0;
  for (const [name, field] of Object.entries(faultFields)) {
    field.keep(books.faults[name]);
    const wrong = text(books.faults[name]) !== text(NOTHING_WRONG[name]);
    field.classList.toggle("on", wrong);
    on += wrong ? 1 : 0;
  }
  element("faults-on").textContent =
    on === 0 ? "No fault is on." : on === 1 ? "One fault is on." : `${on} faults are on.`;
  element("well").disabled = on === 0;
  keep(element("scripts").elements.faults, JSON.stringify(books.faults, null, 2));
}

function makeClock() {
  for (const [name, advance_ms] of [
    ["+1 min", 60_000], ["+10 min", 600_000], ["+1 h", 3_600_000], ["+1 day", 86_400_000],
  ]) {
    element("advance").append(button(name, () => post("/sim/clock", { advance_ms })));
  }
}

function showClock() {
  element("clock").textContent = time(books.now_ms);
  const minutes = Math.floor(books.ahead_ms / 60_000);
  const parts = [
    [Math.floor(minutes / 1440), "d"], [Math.floor(minutes / 60) % 24, "h"], [minutes % 60, "min"],
  ];
  const ahead = parts.filter(([count]) => count > 0).map((part) => part.join(" ")).join(" ");
  element("ahead").textContent = ahead === ""
    ? "Time in China. The gateway's clock does not move with it."
    : `Time in China, ${ahead} ahead. The gateway's clock has not moved.`;
}

const choiceFields = {};

function makeChoices() {
  for (const [name, [sentence, values]] of Object.entries(CHOICES)) {
    const words = Array.isArray(values);
    const word = (value) => ({ "true": "yes", "false": "no", "\n": "a new line" })[value] ?? value;
    const field = words ? select(values.map((value) => [word(value), value])) : made("input");
    if (!words) {
      field.type = "number";
      field.min = 0;
      field.required = values !== null;
      field.keep = (value) => keep(field, value === null ? "" : text(value));
    }
    field.name = name;
    field.onchange = () => choose(field, "/sim/choices",
      { [name]: field.value === "" ? null : JSON.parse(field.value) });
    choiceFields[name] = field;
    const label = made("label", "", made("code", "", name), " ", field);
    element("choices").append(made("div", "choice", label, made("p", "", sentence)));
  }
  for (const [word, sentence] of Object.entries(WORDS)) {
    element("words").append(made("dt", "", made("code", "", word)), made("dd", "", sentence));
  }
}

// A text as JSON; `undefined` if it is none, which is said.
function json(typed) {
  try {
    return JSON.parse(typed);
  } catch (error) {
    problem(`This is not JSON: ${error.message}`);
    return undefined;
  }
}

// In fen, without a fraction on the way; `undefined` if it is no amount, which is said.
function fenOf(typed) {
  const parts = /^(\d{1,11})(?:\.(\d{1,2}))?$/.exec(typed.trim().replace(/^¥|,/g, ""));
  if (!parts) {
    problem(`${text(typed)} is no amount in yuan; one is written 1000.00.`);
    return undefined;
  }
  return Number(parts[1]) * 100 + Number((parts[2] ?? "").padEnd(2, "0"));
}

function makeOrder() {
  const { elements: fields } = element("order");
  element("order").onsubmit = (event) => {
    event.preventDefault();
    const total_fen = fenOf(fields.total.value);
    const items = fields.items.value.trim() === "" ? null : json(fields.items.value);
    if (total_fen === undefined || items === undefined) {
      return;
    }
    post("/sim/orders", {
      app_id: fields.app_id.value,
      out_order_no: fields.out_order_no.value,
      order: { stage: fields.stage.value, total_fen, items, promotion: fields.promotion.value },
    });
  };
}

// Opens the form for an order with what the order is now.
function edit(order) {
  const { elements: fields } = element("order");
  const { stage, total_fen, items, promotion } = order.setup;
  fields.app_id.value = order.app_id;
  fields.out_order_no.value = order.out_order_no;
  fields.stage.value = stage;
  fields.total.value = yuan(total_fen).replace(/[¥,]/g, "");
  fields.items.value = items === null ? "" : JSON.stringify(items, null, 2);
  fields.promotion.value = promotion;
  element("more").open = true;
  element("order").parentElement.open = true;
  element("order").scrollIntoView({ block: "center" });
}

function makeApp() {
  const { elements: fields } = element("app");
  fields.app_id.onchange = () => {
    settled(...fields);
    showApp();
  };
  element("app").onsubmit = async (event) => {
    event.preventDefault();
    const saved = await post("/sim/apps", {
      app_id: fields.app_id.value,
      callback_url: fields.callback_url.value.trim(),
      rules: {
        automatic_settlement: fields.automatic_settlement.value === "true",
        partial_settlement: fields.partial_settlement.value === "true",
        timing: { [fields.timing.value]: { days: Number(fields.days.value) } },
      },
    });
    if (saved) {
      settled(...fields);
    }
  };
}

function showApp() {
  const { elements: fields } = element("app");
  const app = books.apps.find((one) => one.app_id === fields.app_id.value);
  if (!app) {
    return;
  }
  const [[timing, { days }]] = Object.entries(app.rules.timing);
  keep(fields.callback_url, app.callback_url ?? "");
  keep(fields.automatic_settlement, text(app.rules.automatic_settlement));
  keep(fields.partial_settlement, text(app.rules.partial_settlement));
  keep(fields.timing, timing);
  keep(fields.days, text(days));
  element("tokens").textContent =
    `Tokens that it fetched: ${app.tokens_fetched}; good now: ${app.tokens_alive}.`;
}

// Apps do not come and go while the simulator runs; after another start there may be others.
function showApps() {
  const ids = books.apps.map((app) => app.app_id);
  for (const form of ["order", "app"]) {
    const field = element(form).elements.app_id;
    if (text([...field.options].map((option) => option.value)) !== text(ids)) {
      field.replaceChildren(...ids.map((id) => made("option", "", id)));
    }
  }
}

function show(find) {
  element("seed").textContent = `seed ${books.seed}`;
  showFaults();
  showClock();
  for (const [name, field] of Object.entries(choiceFields)) {
    field.keep(books.choices[name]);
  }
  showApps();
  showApp();
  showTables(books, find, post, edit);
}

async function refreshAlways() {
  if (!document.hidden) {
    await refresh();
  }
  setTimeout(refreshAlways, REFRESH_MS);
}

makeFaults();
makeClock();
makeChoices();
makeOrder();
makeApp();
element("problem").lastElementChild.onclick = () => problem("");
element("find").oninput = refresh;
refreshAlways();
