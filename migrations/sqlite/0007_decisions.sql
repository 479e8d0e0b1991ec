-- Version 7: who created a settle and who decided about it.
--
-- Requests, history entries and evidence have new fields in their JSON, too. What was recorded
-- before has none of them.

-- What an operator decided last, as JSON, or null.
ALTER TABLE settle ADD COLUMN decision TEXT;
