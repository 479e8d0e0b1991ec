// What can be chosen on the page, with a sentence for each.

// The faults that stand until another is chosen: what a person reads, and the script.
export const FAULTS = {
  create: ["Creates", [
    ["as documented", null],
    ["done, but the answer is lost", { "apply-then": "drop" }],
    ["lost on the way to Douyin", "drop"],
    ["done, and answered 3 s later", { "apply-then": { delay: [3000, "normal"] } }],
    ["done, and never answered", { "apply-then": "hang" }],
    ["done, but answered 23000: system error", { "apply-then": { refuse: 23000 } }],
    ["not done: 23000, system error", { refuse: 23000 }],
    ["refused: 23102, order not paid", { refuse: 23102 }],
    ["refused: 23107, not fulfilled yet", { refuse: 23107 }],
    ["refused: 23112, no money left", { refuse: 23112 }],
    ["a proxy's page: HTTP 502", "html"],
    ["accepted, without an id", "accept-without-id"],
  ]],
  query: ["Queries", [
    ["as documented", null],
    ["find nothing", "find-nothing"],
    ["lost on the way to Douyin", "drop"],
    ["never answered", "hang"],
    ["answered 23000: system error", { refuse: 23000 }],
    ["a proxy's page: HTTP 502", "html"],
    ["fields of the wrong type", "wrong-types"],
  ]],
  callback: ["Callbacks", [
    ["as documented", null],
    ["never sent", "never"],
    ["lost on the way, each time", "lose"],
    ["arrive, but their answer is lost", "lose-answer"],
    ["arrive twice", "twice"],
    ["arrive 10 s later", { delay: [10000, "normal"] }],
    ["with a wrong signature", "wrong-signature"],
    ["cut in the middle", "truncate"],
  ]],
  faults_per_10_000: ["At random, besides", [
    ["nothing goes wrong", 0],
    ["one of 100 goes wrong", 100],
    ["one of 10 goes wrong", 1000],
    ["every second one goes wrong", 5000],
  ]],
  token: ["Tokens", [
    ["as documented", null],
    ["no answer: the connection closes", "drop"],
    ["never answered", "hang"],
    ["answered 28001005: system error", { refuse: 28001005 }],
    ["refused: 10020, too many calls", { refuse: 10020 }],
    ["a proxy's page: HTTP 502", "html"],
  ]],
};

export const NOTHING_WRONG =
  { create: null, query: null, callback: null, token: null, faults_per_10_000: 0 };

// What an out_order_no begins with, and what happens then.
export const WORDS = {
  "sim-err-23102-": "The settle is refused with 23102 (not paid); other numbers likewise.",
  "sim-fail-": "The settle ends with FAIL.",
  "sim-slow-": "Douyin's answer takes seconds.",
  "sim-lost-": "The first answer is lost, after its effect.",
  "sim-hold-": "The settle stays in PROCESSING until its buttons here end it.",
  "sim-quiet-": "The settle ends, and no callback tells it.",
};

const ENVELOPES = ["own", "err-tips", "extra", "data-message", "error-message"];
const STATUSES = [200, 400, 401, 500];
const AMOUNTS = ["number", "text"];
const NAMES = ["new", "of-2023"];
const FATES = ["free", "burned"];

// The names of the choices, what each decides, and what it can be: words, or an example of a
// number; `null` beside it if there need not be one.
export const CHOICES = {
  number_check: ["When a create looks whether its out_settle_no was used: before its other rules or after them.", ["before-rules", "after-rules"]],
  number_after_refusal: ["Whether a number can be used again after a refusal.", FATES],
  number_after_fail: ["Whether a number can be used again after a FAIL.", FATES],
  visible_after_ms: ["How long queries do not find a settle after its acceptance, in milliseconds.", 0],
  exists_while_invisible: ["Whether 23111 (number exists) can come while queries do not find the settle.", [true, false]],
  fail_turns_success_after_ms: ["How long after it a FAIL turns into SUCCESS, in milliseconds; empty: never.", null],
  business_status: ["The HTTP status of refusals by the settlement system.", STATUSES],
  platform_status: ["The HTTP status of refusals by the platform in front of it (tokens, quotas).", STATUSES],
  business_envelope: ["The fields around a refusal by the settlement system; own: as its trade system documents.", ENVELOPES],
  platform_envelope: ["The fields around a refusal by the platform.", ENVELOPES],
  parent_err_no: ["The error_code over a sub code in the envelope extra.", [2191009, 2190004]],
  token_invalid_err_no: ["The number of an unknown token.", [28001003, 2190002, 10008, 11002]],
  token_expired_err_no: ["The number of a token that has expired or was replaced.", [28001008, 2190008, 10008, 11002]],
  token_grace_ms: ["How long a replaced token stays good, in milliseconds.", 0],
  log_id: ["Where an answer has its log id.", ["body", "header-only"]],
  query_names: ["How query answers spell the developer's numbers.", NAMES],
  amounts: ["How query answers write amounts and times: as JSON numbers or as text.", AMOUNTS],
  app_id_required: ["Whether a body without app_id is refused.", [true, false]],
  detail_separator: ["What stands between two receivers in settle_detail.", [",", ";", "，", "\n"]],
  receivers_max: ["More receivers than this are refused; empty: no limit.", null],
  settles_per_order_max: ["More settles of one order than this are refused with 23113; empty: no limit.", null],
  notify_url_alone: ["Whether a create's notify_url counts while the app has no address of its own.", [true, false]],
  callback_version: ["The version that callbacks name.", ["3.0", "2.0"]],
  callback_amounts: ["How callbacks write amounts and times.", AMOUNTS],
  callback_names: ["How callbacks spell the developer's numbers.", NAMES],
  callback_fields: ["Which fields a callback has that have nothing to say.", ["captured", "sparse", "padded"]],
  auto_out_settle_no: ["What the callback of an automatic settlement has as out_settle_no.", ["settle-id", "blank", "absent"]],
  callback_processing: ["Whether PROCESSING is told by a callback too.", [true, false]],
  callback_ladder: ["How often and when a callback is sent again that was not acknowledged.", ["own", "general", "general-2024", "industry", "guaranteed", "once"]],
  callback_retry_signs_anew: ["Whether a repeated callback has a time and a signature of its own.", [true, false]],
  callback_deadline_ms: ["How long the platform waits for the answer to a callback, in milliseconds.", 0],
  guaranteed_query_names: ["How guaranteed payment's query names an error.", ["sample", "table"]],
  nonce_counts_once: ["Whether a signed request is refused whose nonce_str was used before.", [true, false]],
  informing: ["Whether fields that only inform are as documented, or of any type and broken.", ["as-documented", "odd"]],
};
