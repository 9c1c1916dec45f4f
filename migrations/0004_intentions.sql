-- What a command of an operator is about to do, so that the next command can finish what was interrupted; and who ran it.

ALTER TABLE campaigns
    -- Grows with each command that reserves the campaign. The gate refuses a command with a lower number: it was
    -- interrupted for so long that another one has taken the campaign over.
    ADD COLUMN fencing_token BIGINT UNSIGNED NOT NULL DEFAULT 0;

ALTER TABLE campaign_log
    -- Who ran the command. NULL: a program did it by itself, or the row is older than this column.
    ADD COLUMN actor VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
    -- The grant that was revoked or given up with its dead letter. NULL: the line is about none, or older than this.
    ADD COLUMN round_id VARCHAR(32) NULL,
    ADD COLUMN serial INT UNSIGNED NULL,
    ADD COLUMN user_id VARCHAR(64) NULL,
    DROP CONSTRAINT campaign_log_action_is_known,
    ADD CONSTRAINT campaign_log_action_is_known CHECK (action IN
        ('created', 'changed', 'paused', 'resumed', 'closed', 'halted', 'restored', 'revoked', 'replayed', 'discarded',
         'repaired', 'refused'));

-- At most one for each campaign: written before the gate is told, removed in the transaction that writes the result.
CREATE TABLE intentions (
    campaign_id   VARCHAR(48)     NOT NULL,
    fencing_token BIGINT UNSIGNED NOT NULL,   -- of the command that is to finish it
    written_at    DATETIME(3)     NOT NULL DEFAULT (UTC_TIMESTAMP(3)),
    actor         VARCHAR(128)  CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    deed          MEDIUMTEXT    CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,   -- a JSON object
    reason        VARCHAR(1024) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,       -- why, in the operator's words

    PRIMARY KEY (campaign_id),
    CONSTRAINT intentions_campaign FOREIGN KEY (campaign_id) REFERENCES campaigns (campaign_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET ascii COLLATE ascii_bin;
