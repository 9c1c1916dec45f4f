-- Dead letters that are replayed or discarded, and campaigns that are audited and repaired.

ALTER TABLE failed_events
    -- What was done with it, and why, in the operator's words.
    ADD COLUMN resolution_note VARCHAR(1024) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL;

ALTER TABLE campaign_log
    DROP CONSTRAINT campaign_log_action_is_known,
    ADD CONSTRAINT campaign_log_action_is_known CHECK (action IN
        ('created', 'changed', 'paused', 'resumed', 'closed', 'halted', 'restored', 'revoked', 'replayed', 'discarded',
         'repaired'));
