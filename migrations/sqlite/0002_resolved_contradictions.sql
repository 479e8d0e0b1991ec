-- Version 2: when an operator decided about a contradiction. Null while it is open, or if there is
-- none.
ALTER TABLE settle ADD COLUMN contradiction_resolved_ms INTEGER;
