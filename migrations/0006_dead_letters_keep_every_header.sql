-- Dead letters keep every header of their record, so that it can be sent again as it was.

ALTER TABLE failed_events
    -- A JSON array of names and values, in their order; `null` if they were too long to be kept. NULL: written by a version
    -- that kept only those in `headers`.
    ADD COLUMN all_headers MEDIUMTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL;
