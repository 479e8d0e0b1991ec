-- The settles whose ids are after ?1 and up to ?2. `json_patch` leaves out what is null.
INSERT INTO settle
SELECT
    old.id, old.app_id, old.trade_system, old.out_settle_no, old.create_time_ms,
    old.listed_order_no,
    old.version, old.revision, old.rules, old.update_time_ms, old.origin, old.state, old.settle_id,
    old.owes_query, old.contradiction_claimed, old.contradiction_settle_id,
    old.contradiction_source, old.contradiction_time_ms, old.contradiction_resolved_ms,
    due.due_at_ms, due.lease_until_ms, coalesce(due.fence, old.last_fence), due.wanted_at_ms,
    due.attempted_at_ms, coalesce(due.attempts, 0), coalesce(due.backoff, 0),
    old.rejection, old.last_error,
    nullif(json_patch('{}', json_object(
        'open', json(old.open_permissions),
        'lost', nullif(old.lost, 0),
        'last_permission', json(old.last_permission),
        'set_back', iif(old.set_back, json('true'), NULL),
        'exists_seen_ms', old.exists_seen_ms,
        'refused', json(old.refused),
        'fail_seen', old.fail_seen,
        'unlisted', iif(old.unlisted IS NULL, NULL, json_object(
            'failure', json(old.unlisted), 'times', old.unlisted_times)),
        'empties_after_expiry', nullif(old.empties_after_expiry, 0),
        'last_counted_ms', old.last_counted_ms)), '{}'),
    nullif(json_patch('{}', json_object(
        'wallet_settle_id', old.wallet_settle_id,
        'order_id', old.order_id,
        'out_order_no', old.out_order_no,
        'item_order_id', old.item_order_id,
        'cp_extra', old.cp_extra,
        'settle_status', old.settle_status,
        'settle_amount_fen', old.settle_amount_fen,
        'rake_fen', old.rake_fen,
        'commission_fen', old.commission_fen,
        'platform_ticket_fen', old.platform_ticket_fen,
        'settle_detail', old.settle_detail,
        'message', old.message,
        'settle_time_ms', old.settle_time_ms,
        'auto_settle', iif(old.auto_settle IS NULL, NULL,
                           json(iif(old.auto_settle, 'true', 'false'))))), '{}'),
    iif(request.settle IS NULL, NULL, json_patch('{}', json_object(
        'out_order_no', request.out_order_no,
        'item_order_id', request.item_order_id,
        'settle_desc', request.settle_desc,
        'settle_params', json(request.settle_params),
        'ext', request.ext,
        'notify_url', request.notify_url,
        'sent_ext', request.sent_ext,
        'submit_before_ms', request.submit_before_ms))),
    request.body,
    coalesce((
        SELECT group_concat(json_patch('{}', json_object(
            'revision', revision, 'state', state, 'source', source, 'log_id', log_id,
            'error', json(error), 'time_ms', time_ms)) || char(10), '' ORDER BY revision)
        FROM history_5 WHERE settle = old.id AND revision <= 16), '')
FROM settle_5 AS old
LEFT JOIN due ON due.settle = old.id
LEFT JOIN request ON request.settle = old.id
WHERE old.id > ?1 AND old.id <= ?2
