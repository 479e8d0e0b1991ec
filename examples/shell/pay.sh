#!/usr/bin/env bash
# Makes one payment and follows it to its end, with grpcurl and jq and no file of the contract: the
# gateway tells it by reflection.
#
#   pay.sh ADDRESS OUT_ORDER_NO OUT_SETTLE_NO
#
# GATEWAY_TOKEN is the caller's token, GATEWAY_CA the file of the authorities (without it: no TLS).
set -euo pipefail

address=$1 out_order_no=$2 out_settle_no=$3
security=(-plaintext)
[[ -z ${GATEWAY_CA:-} ]] || security=(-cacert "$GATEWAY_CA")

# Prints what a call answers; after an error what failure() makes of it, and returns 1.
call() {
    local method=$1 seconds=$2 request=$3 error status=0
    error=$(mktemp)
    # The header is expanded by grpcurl, so that the token is on no command line.
    grpcurl "${security[@]}" -expand-headers -H "authorization: Bearer \${GATEWAY_TOKEN}" \
        -format-error -max-time "$seconds" -d "$request" "$address" \
        "douyin.settlement.v1.SettlementService/$method" 2>"$error" || status=1
    [[ $status == 0 ]] || failure <"$error"
    rm "$error"
    return $status
}

# What an error says. One without details is made by a proxy or a library: nothing is known.
failure() {
    sed -n '/{/,$p' | jq -sc '
        [.[].details[]? | select(."@type" | endswith("/douyin.settlement.v1.SettlementFailure"))]
        | .[0] // {outcome: "OUTCOME_UNKNOWN", retry: "RETRY_NOW", retryDelay: "1s"}'
}

pause() { sleep "$(jq -r '.retryDelay // "5s"' <<<"$1")"; }

# Every repeat has the same number, which is stored already.
request=$(jq -n --arg order "$out_order_no" --arg settle "$out_settle_no" '{
    outOrderNo: $order, outSettleNo: $settle, settleDesc: "store share",
    settleParams: [{merchantUid: "7278924576854329635", amountFen: "120"}]}')
until created=$(call CreateSettle "${CREATE_SECONDS:-25}" "$request"); do
    read -r outcome retry reason < <(jq -r '[.outcome, .retry, .reason // "-"] | @tsv' <<<"$created")
    if [[ $outcome == OUTCOME_REFUSED ]]; then
        echo "REFUSED $reason: another number may be taken" >&2
        exit 1
    elif [[ $outcome == OUTCOME_NOT_SENT && $retry != RETRY_NOW ]]; then
        echo "NOT_SENT $reason: something must change, the number stays" >&2
        exit 1
    fi
    pause "$created"
done

# Opens the stream again as often as it breaks. OK ends it, after the final state. A stream begins
# with the current state, so a script needs no revision.
watch=$(jq -n --arg settle "$out_settle_no" '{outSettleNo: $settle}')
until events=$(call WatchSettle 300 "$watch"); do
    failed=$(tail -n 1 <<<"$events")
    [[ $(jq -r .retry <<<"$failed") == RETRY_NOW ]] || { echo "UNKNOWN $failed" >&2; exit 1; }
    pause "$failed"
done
jq -rs '[.[].settle // empty] | last | "\(.state) \(.result.settleAmountFen // "")"' <<<"$events"
