-- The settles whose contradiction waits for an operator: a handful, looked for among all.
CREATE INDEX settle_by_open_contradiction ON settle (app_id)
    WHERE contradiction_claimed IS NOT NULL AND contradiction_resolved_ms IS NULL;
